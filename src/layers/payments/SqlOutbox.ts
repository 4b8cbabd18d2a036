/**
 * The provider commands in Postgres. Claims skip what others have locked and take turns among tenants; the
 * database's clock decides what is due, and the epoch in each statement decides who may still write.
 */
import { PgClient } from "@effect/sql-pg"
import { Duration, Effect, Layer, Option, Schema } from "effect"

import { page } from "../../domain/Cursor.ts"
import { TenantId } from "../../domain/Ids.ts"
import { IdempotencyKey } from "../../domain/payments/IdempotencyKey.ts"
import {
  type Ack,
  type Attempt,
  AttemptClass,
  type DeadLetter,
  type Lease,
  NoSuchDeadLetter,
  Outbox,
  OutboxUnavailable
} from "../../domain/payments/Outbox.ts"
import { Reads } from "../platform/Postgres.ts"
import { Settings } from "../platform/Settings.ts"
import { ChargeRow, toCharge } from "./ChargeRow.ts"

const ClaimRow = Schema.Struct({
  operation_id: Schema.String,
  epoch: Schema.Int,
  attempts: Schema.Int,
  uncertain: Schema.Boolean,
  sendable: Schema.Boolean,
  traceparent: Schema.NullOr(Schema.String),
  tenant: TenantId,
  key: IdempotencyKey,
  psp_key: Schema.String,
  charge: ChargeRow
})
const AttemptRow = Schema.Struct({
  attempt: Schema.Int,
  epoch: Schema.Int,
  started_at: Schema.DateTimeUtcFromString,
  finished_at: Schema.NullOr(Schema.DateTimeUtcFromString),
  class: AttemptClass,
  error: Schema.NullOr(Schema.String)
})
const DeadRow = Schema.Struct({
  operation_id: Schema.String,
  tenant: TenantId,
  key: IdempotencyKey,
  psp_key: Schema.String,
  class: AttemptClass,
  error: Schema.String,
  attempts: Schema.Int,
  buried_at: Schema.DateTimeUtcFromString,
  charge: ChargeRow,
  history: Schema.Array(AttemptRow)
})
const decodeClaims = Schema.decodeUnknownEffect(Schema.Array(ClaimRow))
const decodeDead = Schema.decodeUnknownEffect(Schema.Array(DeadRow))
const decodeRedriven = Schema.decodeUnknownEffect(
  Schema.Array(Schema.Struct({ operation_id: Schema.String, redriven: Schema.Boolean }))
)

const unavailable = (cause: unknown) => new OutboxUnavailable({ cause })

const make = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const reads = yield* Reads
  const { pspLease, pspWindow } = yield* Settings
  const lease = `${Duration.toMillis(pspLease)} milliseconds`
  const window = `${Duration.toMillis(pspWindow)} milliseconds`

  const stage: Outbox["Service"]["stage"] = (operation) =>
    sql`select stage_command(o.id, o.tenant_id, null) from operations o join charges c on c.id = o.charge_id
      where o.id = ${operation}::uuid and c.state not in ('succeeded', 'failed')`.pipe(
      Effect.asVoid,
      Effect.mapError(unavailable)
    )

  const claim: Outbox["Service"]["claim"] = Effect.fnUntraced(function* (owner, limit) {
    const rows = yield* Effect.mapError(
      sql`select operation_id, epoch::int, attempts, uncertain, sendable, traceparent, tenant, key, psp_key, charge
        from claim(${owner}, ${limit}, ${lease}::text::interval, ${window}::text::interval)`,
      unavailable
    )
    return (yield* Effect.orDie(decodeClaims(rows))).map(toLease)
  })

  const ack: Outbox["Service"]["ack"] = Effect.fnUntraced(function* (lease, ack) {
    const item = { operation: lease.operation, epoch: lease.epoch, ...toItem(ack) }
    const rows = yield* Effect.mapError(
      sql<{ readonly done: boolean }>`select done from ack(${sql.json([item])})`,
      unavailable
    )
    return rows[0]?.done === true
  })

  /** Newest first: operations are named in the order they were made. */
  const dead = (before: string, only: string | null, limit: number) =>
    reads`select c.operation_id, c.tenant_id as tenant, o.key, o.psp_key, c.last_class as class,
        coalesce(c.last_error, '') as error, c.attempts, rfc3339(c.buried_at) as buried_at, to_jsonb(s) as charge,
        (select coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'epoch', a.epoch,
            'started_at', rfc3339(a.started_at), 'finished_at', rfc3339(a.finished_at), 'class', a.class,
            'error', a.error) order by a.epoch), '[]')
          from (select * from psp_attempts p where p.operation_id = c.operation_id
            order by p.epoch desc limit ${historyMax}) a) as history
      from psp_commands c join operations o on o.id = c.operation_id join charge_statements s on s.id = o.charge_id
      where c.state = 'dead' and c.operation_id < ${before}::uuid
        and (${only}::uuid is null or ${only}::uuid in (c.operation_id, o.charge_id))
      order by c.operation_id desc limit ${limit}`.pipe(
      Effect.mapError(unavailable),
      Effect.flatMap((rows) => Effect.orDie(decodeDead(rows))),
      Effect.map((rows) => rows.map(toDeadLetter))
    )

  const deadLetters: Outbox["Service"]["deadLetters"] = ({ limit, after }) =>
    Effect.map(
      dead(
        Option.getOrElse(after, () => last),
        null,
        limit + 1
      ),
      (rows) => page(rows, limit, (letter) => letter.operation)
    )

  const deadLetter: Outbox["Service"]["deadLetter"] = (operation) =>
    Effect.flatMap(dead(last, operation, 1), ([letter]) =>
      letter === undefined ? Effect.fail(new NoSuchDeadLetter({ id: operation })) : Effect.succeed(letter)
    )

  const redrive: Outbox["Service"]["redrive"] = Effect.fnUntraced(function* ({ operations, limit, evidence }) {
    const only = operations === "all" ? null : `{${operations.join(",")}}`
    const rows = yield* sql`select operation_id, redriven
      from redrive(${only}::text::uuid[], ${limit}, ${evidence}, ${window}::text::interval)`.pipe(
      Effect.mapError(unavailable),
      Effect.flatMap((found) => Effect.orDie(decodeRedriven(found)))
    )
    return {
      redriven: rows.filter((row) => row.redriven).map((row) => row.operation_id),
      refused: rows.filter((row) => !row.redriven).map((row) => row.operation_id)
    }
  })

  return Outbox.of({ stage, claim, ack, deadLetters, deadLetter, redrive })
})

export const layer: Layer.Layer<Outbox, never, PgClient.PgClient | Reads | Settings> = Layer.effect(Outbox, make)

/** Attempts of a dead letter that are shown: the last ones. */
const historyMax = 100

/** After every id. */
const last = "ffffffff-ffff-ffff-ffff-ffffffffffff"

const toLease = (row: typeof ClaimRow.Type): Lease => ({
  operation: row.operation_id,
  epoch: row.epoch,
  tenant: row.tenant,
  key: row.key,
  pspKey: row.psp_key,
  charge: toCharge(row.charge),
  attempts: row.attempts,
  uncertain: row.uncertain,
  sendable: row.sendable,
  traceparent: Option.fromNullishOr(row.traceparent)
})

const toItem = (ack: Ack) => {
  switch (ack._tag) {
    case "Retry":
      return { act: "retry", class: ack.class, error: ack.error, delay_ms: Duration.toMillis(ack.delay) }
    case "Bury":
      return { act: "bury", class: ack.class, error: ack.error, delay_ms: 0 }
    case "Park":
      return { act: "park", class: null, error: null, delay_ms: Duration.toMillis(ack.delay) }
  }
}

const toAttempt = (row: typeof AttemptRow.Type): Attempt => ({
  number: row.attempt,
  epoch: row.epoch,
  startedAt: row.started_at,
  finishedAt: Option.fromNullishOr(row.finished_at),
  class: row.class,
  error: row.error
})

const toDeadLetter = (row: typeof DeadRow.Type): DeadLetter => ({
  operation: row.operation_id,
  tenant: row.tenant,
  charge: toCharge(row.charge),
  key: row.key,
  pspKey: row.psp_key,
  class: row.class,
  error: row.error,
  attempts: row.attempts,
  buriedAt: row.buried_at,
  history: row.history.map(toAttempt)
})
