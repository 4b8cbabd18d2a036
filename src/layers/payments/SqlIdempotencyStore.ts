/**
 * Keys in Postgres, where they are true. It recalls nothing: accepting asks the same row anyway, so there is
 * no shorter way here.
 */
import { Duration, Effect, Layer, Option, Schema } from "effect"
import { SqlClient } from "effect/sql"

import { ChargeId, OperationState } from "../../domain/payments/Charge.ts"
import { Fingerprint } from "../../domain/payments/Fingerprint.ts"
import { IdempotencyStore, KeysUnavailable, NoSuchKey } from "../../domain/payments/IdempotencyStore.ts"
import { Reads } from "../platform/Postgres.ts"
import { Settings } from "../platform/Settings.ts"

const KeyRow = Schema.Struct({
  fingerprint: Fingerprint,
  charge: Schema.NullOr(ChargeId),
  state: Schema.Union([OperationState, Schema.Literal("refused")]),
  attempts: Schema.Int,
  next_attempt_at: Schema.NullOr(Schema.DateTimeUtcFromString),
  first_seen: Schema.String,
  expires: Schema.String
})
const decode = Schema.decodeUnknownEffect(Schema.Array(KeyRow))
const decodeReaped = Schema.decodeUnknownEffect(Schema.NonEmptyArray(Schema.Struct({ reaped: Schema.Int })))

const unavailable = (cause: unknown) => new KeysUnavailable({ cause })

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const reads = yield* Reads
  const { tombstoneTtl } = yield* Settings
  const tombstone = `${Duration.toMillis(tombstoneTtl)} milliseconds`

  const inspect: IdempotencyStore["Service"]["inspect"] = Effect.fnUntraced(function* (tenant, key) {
    const rows = yield* reads`select encode(k.fingerprint, 'hex') as fingerprint, c.id as charge,
        coalesce(c.state, 'refused') as state, rfc3339(k.created_at) as first_seen, rfc3339(k.expires_at) as expires,
        (select count(*)::int from psp_attempts a where a.operation_id = o.id) as attempts,
        case when p.state <> 'dead' then rfc3339(p.available_at) end as next_attempt_at
      from idempotency_keys k
      left join charges c on c.id = k.charge_id
      left join operations o on o.tenant_id = k.tenant_id and o.key = k.key
      left join psp_commands p on p.operation_id = o.id
      where k.tenant_id = ${tenant} and k.key = ${key}::uuid`.pipe(
      Effect.mapError(unavailable),
      Effect.flatMap((found) => Effect.orDie(decode(found)))
    )
    const row = rows[0]
    if (row === undefined) return yield* new NoSuchKey()
    return {
      key,
      fingerprint: row.fingerprint,
      charge: row.charge,
      state: row.state,
      attempts: row.attempts,
      nextAttemptAt: Option.fromNullishOr(row.next_attempt_at),
      firstSeen: row.first_seen,
      expires: row.expires
    }
  })

  const reap: IdempotencyStore["Service"]["reap"] = (limit) =>
    sql`select reap(${limit}, ${tombstone}::text::interval) as reaped`.pipe(
      Effect.mapError(unavailable),
      Effect.flatMap((rows) => Effect.orDie(decodeReaped(rows))),
      Effect.map(([{ reaped }]) => reaped)
    )

  return IdempotencyStore.of({
    recall: () => Effect.succeedNone,
    remember: () => Effect.void,
    inspect,
    reap
  })
})

export const layer: Layer.Layer<IdempotencyStore, never, SqlClient.SqlClient | Reads | Settings> = Layer.effect(
  IdempotencyStore,
  make
)
