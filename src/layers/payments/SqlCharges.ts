/**
 * Charges in Postgres: one function call accepts all that wait, one settles, each a transaction of its own.
 * Conflicts with concurrent calls and answers lost on the way are asked again, under the same key but with new
 * ids, so that a first try that did commit is found and not repeated.
 */
import { PgClient } from "@effect/sql-pg"
import { Array, Duration, Effect, Layer, Option, Schedule, Schema } from "effect"
import { SecureRandom } from "effect/crypto"
import type { SqlError } from "effect/sql"

import { page } from "../../domain/Cursor.ts"
import { type Charge, type ChargeRequest, statement } from "../../domain/payments/Charge.ts"
import {
  type Acceptance,
  AcceptError,
  Charges,
  ChargesUnavailable,
  type Intent,
  KeyReused,
  NoSuchCharge,
  OperationInProgress,
  OrderAlreadyCharged,
  ResultExpired
} from "../../domain/payments/Charges.ts"
import { Outcome, type Told } from "../../domain/payments/IdempotencyStore.ts"
import { pspKey } from "../../domain/payments/PspKey.ts"
import { eventOf, settledBy } from "../../domain/payments/Settlement.ts"
import { Reads } from "../platform/Postgres.ts"
import { Settings } from "../platform/Settings.ts"
import * as ChargeBatcher from "./ChargeBatcher.ts"
import { chargeOf, ChargeRow, toCharge } from "./ChargeRow.ts"

const ToldRow = Schema.Struct({
  outcome: Outcome,
  document: Schema.String,
  fingerprint: Schema.String,
  charge: Schema.NullOr(Schema.String),
  first_seen: Schema.String,
  expires: Schema.String,
  ttl_ms: Schema.Int
})
const verdict = <const Tag extends string, Body extends Schema.Top>(tag: Tag, body: Body) =>
  Schema.Struct({ verdict: Schema.Literal(tag), body })
const AcceptRow = Schema.Union([
  verdict("accepted", Schema.Struct({ created_at: Schema.String, expires: Schema.String })),
  verdict("refused", ToldRow),
  verdict("settled", ToldRow),
  verdict("open", Schema.Struct({ ...ChargeRow.fields, first_seen: Schema.String, expires: Schema.String })),
  verdict("mismatch", Schema.Null),
  verdict("expired", Schema.Struct({ charge: Schema.NullOr(Schema.String) })),
  verdict("order_taken", Schema.Struct({ charge: Schema.String })),
  verdict("busy", Schema.Null)
])
const decodeAccept = Schema.decodeUnknownEffect(Schema.NonEmptyArray(AcceptRow))
/** Null: the lease was lost, or the charge had settled. */
const decodeSettle = Schema.decodeUnknownEffect(Schema.NonEmptyArray(Schema.Struct({ told: Schema.NullOr(ToldRow) })))

const toTold = ({ first_seen, ttl_ms, ...rest }: typeof ToldRow.Type): Told => ({
  ...rest,
  firstSeen: first_seen,
  ttlMillis: ttl_ms
})

/** Tries of one call; what still fails then is the caller's to see. */
const triesMax = 4

const again = Schedule.exponential("5 millis").pipe(Schedule.jittered, Schedule.upTo({ times: triesMax - 1 }))

/** How long a key whose first use is still being accepted is waited for. Neighbours should not wait for it long. */
const keyWait = { together: "50 milliseconds", alone: "750 milliseconds" }

/** Losing to a neighbour, or to the network: the same question may be asked again. */
const isPassing = (error: SqlError.SqlError) =>
  error.reason._tag === "DeadlockError" ||
  error.reason._tag === "SerializationError" ||
  error.reason._tag === "ConnectionError"

const unavailable = (cause: unknown) => new ChargesUnavailable({ cause })
const refuse = (reason: AcceptError["reason"]) => Effect.fail(new AcceptError({ reason }))

const make = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const reads = yield* Reads
  const random = yield* SecureRandom.SecureRandom
  const { idempotencyTtl } = yield* Settings
  const ttl = `${Duration.toMillis(idempotencyTtl)} milliseconds`

  /** Ids are drawn for each call: a first try whose answer was lost is found by its key. */
  const itemOf = Effect.fnUntraced(function* ({ tenant, key, fingerprint, request, traceparent }: Intent) {
    return {
      tenant,
      key,
      fingerprint,
      charge: (yield* random.uuidV7()) as Charge["id"],
      operation: yield* random.uuidV7(),
      hold: yield* random.uuidV7(),
      psp_key: pspKey(tenant, key, "charge", 1),
      amount: request.amount,
      currency: request.currency,
      source: request.source,
      description: request.description,
      order_id: request.orderId,
      traceparent: Option.getOrNull(traceparent)
    }
  })

  /** Verdicts in the order of the intents. */
  const ask = Effect.fnUntraced(function* (intents: Array.NonEmptyReadonlyArray<Intent>, wait: string) {
    const items = yield* Effect.forEach(intents, itemOf)
    const rows = yield* sql`select verdict, body from accept_batch(${sql.json(items)}, ${ttl}::text::interval,
      ${wait}::text::interval)`
    return Array.zipWith(
      yield* Effect.orDie(decodeAccept(rows)),
      Array.zip(items, intents),
      (row, [{ charge }, intent]) => answerTo(row, charge, intent.request)
    )
  })

  const accept = yield* ChargeBatcher.make({
    nameOf: ({ key, tenant }: Intent) => `${key} ${tenant}`,
    together: (intents) => ask(intents, keyWait.together),
    alone: (intent) =>
      ask([intent], keyWait.alone).pipe(
        Effect.retry({ schedule: again, while: isPassing }),
        Effect.mapError((error) =>
          error.reason._tag === "LockTimeoutError" ? new OperationInProgress() : unavailable(error)
        ),
        Effect.mapError((reason) => new AcceptError({ reason })),
        Effect.flatMap(([answer]) => answer)
      )
  })

  const settle: Charges["Service"]["settle"] = Effect.fnUntraced(
    function* ({ lease, verdict }) {
      const charge = settledBy(lease.charge, verdict)
      const document = statement(charge)
      const item = {
        operation: lease.operation,
        epoch: lease.epoch,
        transfer: yield* random.uuidV7(),
        event: yield* random.uuidV7(),
        outcome: charge.operationState,
        code: charge.failure?.code ?? null,
        message: charge.failure?.message ?? null,
        psp_ref: verdict.ref,
        document,
        payload: eventOf(lease.tenant, document)
      }
      const rows = yield* sql`select told from settle_batch(${sql.json([item])})`
      const [{ told }] = yield* Effect.orDie(decodeSettle(rows))
      return told === null ? ({ _tag: "Fenced" } as const) : ({ _tag: "Settled", charge, told: toTold(told) } as const)
    },
    Effect.retry({ schedule: again, while: isPassing }),
    Effect.mapError(unavailable)
  )

  const find: Charges["Service"]["find"] = Effect.fnUntraced(function* (tenant, id) {
    const rows = yield* Effect.mapError(
      reads<{
        readonly charge: unknown
      }>`select to_jsonb(s) as charge from charge_statements s where s.id = ${id}::uuid and s.tenant_id = ${tenant}`,
      unavailable
    )
    return rows[0] === undefined ? yield* new NoSuchCharge({ id }) : yield* chargeOf(rows[0].charge)
  })

  const list: Charges["Service"]["list"] = Effect.fnUntraced(function* (tenant, { limit, after }) {
    const before = Option.getOrElse(after, () => "ffffffff-ffff-ffff-ffff-ffffffffffff")
    const rows = yield* Effect.mapError(
      reads<{
        readonly charge: unknown
      }>`select to_jsonb(s) as charge from charge_statements s where s.tenant_id = ${tenant} and s.id < ${before}::uuid
        order by s.id desc limit ${limit + 1}`,
      unavailable
    )
    const charges = yield* Effect.forEach(rows, (row) => chargeOf(row.charge))
    return page(charges, limit, (charge) => charge.id)
  })

  return Charges.of({ accept, settle, find, list })
})

export const layer: Layer.Layer<Charges, never, PgClient.PgClient | Reads | Settings> = Layer.effect(
  Charges,
  make
).pipe(Layer.provide(SecureRandom.layerWebCrypto))

/** What the function said of one item, as the port says it. */
const answerTo = (
  row: typeof AcceptRow.Type,
  id: Charge["id"],
  request: ChargeRequest
): Effect.Effect<Acceptance, AcceptError> => {
  switch (row.verdict) {
    case "accepted":
      return Effect.succeed({
        _tag: "Accepted",
        charge: accepted(id, request, row.body.created_at),
        expires: row.body.expires
      })
    case "refused":
      return Effect.succeed({ _tag: "Refused", told: toTold(row.body) })
    case "settled":
      return Effect.succeed({ _tag: "Settled", told: toTold(row.body) })
    case "open":
      return Effect.succeed({
        _tag: "Open",
        charge: toCharge(row.body),
        firstSeen: row.body.first_seen,
        expires: row.body.expires
      })
    case "mismatch":
      return refuse(new KeyReused())
    case "expired":
      return refuse(new ResultExpired({ charge: row.body.charge }))
    case "order_taken":
      return refuse(new OrderAlreadyCharged({ charge: row.body.charge }))
    case "busy":
      return refuse(new OperationInProgress())
  }
}

const accepted = (id: Charge["id"], request: ChargeRequest, createdAt: string): Charge => ({
  id,
  operationState: "accepted",
  amount: request.amount,
  currency: request.currency,
  source: request.source,
  description: request.description,
  orderId: request.orderId,
  createdAt,
  failure: null
})
