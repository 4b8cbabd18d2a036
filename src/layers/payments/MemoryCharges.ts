/** Charges in this process: exact, and gone with it. Each acceptance and settlement is one synchronous step. */
import { Clock, Duration, Effect, Layer, Option } from "effect"
import { SecureRandom } from "effect/crypto"

import { page } from "../../domain/Cursor.ts"
import { EventOutbox } from "../../domain/events/EventOutbox.ts"
import { type Charge, ChargeId, statement } from "../../domain/payments/Charge.ts"
import {
  type Acceptance,
  AcceptError,
  Charges,
  ChargesUnavailable,
  type Intent,
  KeyReused,
  NoSuchCharge,
  OrderAlreadyCharged,
  ResultExpired,
  type Settled
} from "../../domain/payments/Charges.ts"
import type { Told } from "../../domain/payments/IdempotencyStore.ts"
import { refusal, type Transfer } from "../../domain/payments/Ledger.ts"
import { pspKey } from "../../domain/payments/PspKey.ts"
import { eventOf, settledBy, topic } from "../../domain/payments/Settlement.ts"
import { Settings } from "../platform/Settings.ts"
import { account, type Books, type KeyRow, MemoryBooks, nameOf, rfc3339, write } from "./MemoryBooks.ts"
import { stageCommand } from "./MemoryOutbox.ts"

const refuse = (reason: AcceptError["reason"]) => Effect.fail(new AcceptError({ reason }))

interface Drawn {
  readonly charge: ChargeId
  readonly operation: string
  readonly hold: string
}

const make = Effect.gen(function* () {
  const books = yield* MemoryBooks
  const events = yield* EventOutbox
  const random = yield* SecureRandom.SecureRandom
  const ttl = Duration.toMillis((yield* Settings).idempotencyTtl)

  const accept: Charges["Service"]["accept"] = Effect.fnUntraced(function* (intent) {
    const drawn = {
      charge: ChargeId.make(yield* random.uuidV7()),
      operation: yield* random.uuidV7(),
      hold: yield* random.uuidV7()
    }
    const now = yield* Clock.currentTimeMillis
    return yield* known(books, intent, now) ?? begin(books, intent, drawn, now, ttl)
  })

  const settle: Charges["Service"]["settle"] = Effect.fnUntraced(function* ({ lease, verdict }) {
    const transfer = yield* random.uuidV7()
    const event = yield* random.uuidV7()
    const command = books.commands.get(lease.operation)
    if (command === undefined || command.state !== "leased" || command.epoch !== lease.epoch) {
      return { _tag: "Fenced" } as const
    }
    const { operation, traceparent } = command
    const row = books.charges.get(operation.charge)
    const key = books.keys.get(nameOf(operation.tenant, operation.key))
    if (row === undefined || key === undefined) return yield* Effect.die("a command without its charge or key")
    const charge = settledBy(row.charge, verdict)
    const document = statement(charge)
    yield* events
      .stage([
        {
          id: event,
          topic,
          key: charge.id,
          type: `charge.${charge.operationState}`,
          headers: traceparent === undefined ? {} : { traceparent },
          payload: eventOf(operation.tenant, document)
        }
      ])
      .pipe(Effect.mapError((cause) => new ChargesUnavailable({ cause })))
    const captured = verdict._tag === "Captured"
    books.commands.delete(operation.id)
    write(books, { ...operation.hold, id: transfer, kind: captured ? "post" : "void", hold: operation.hold.id })
    row.charge = charge
    key.told = toldOf(key, captured ? "succeeded" : "failed", document, charge.id, yield* Clock.currentTimeMillis)
    return { _tag: "Settled", charge, told: key.told } satisfies Settled
  })

  const find: Charges["Service"]["find"] = (tenant, id) =>
    Effect.suspend(() => {
      const row = books.charges.get(id)
      return row?.tenant === tenant ? Effect.succeed(row.charge) : Effect.fail(new NoSuchCharge({ id }))
    })

  const list: Charges["Service"]["list"] = (tenant, { limit, after }) =>
    Effect.sync(() => {
      const before = Option.getOrElse(after, () => "g")
      const charges = [...books.charges.values()]
        .filter((row) => row.tenant === tenant && row.charge.id < before)
        .map((row) => row.charge)
        .toSorted((a, b) => (a.id < b.id ? 1 : -1))
      return page(charges.slice(0, limit + 1), limit, (charge) => charge.id)
    })

  return Charges.of({ accept, settle, find, list })
})

export const layer: Layer.Layer<Charges, never, MemoryBooks | EventOutbox | Settings> = Layer.effect(
  Charges,
  make
).pipe(Layer.provide(SecureRandom.layerWebCrypto))

const toldOf = (key: KeyRow, outcome: Told["outcome"], document: string, charge: string | null, now: number): Told => ({
  fingerprint: key.fingerprint,
  outcome,
  document,
  charge,
  firstSeen: rfc3339(key.firstSeen),
  expires: rfc3339(key.expiresAt),
  ttlMillis: Math.max(0, key.expiresAt - now)
})

/** What an earlier use of the key decides; nothing, when it is new. */
const known = (
  books: Books,
  { tenant, key, fingerprint }: Intent,
  now: number
): Effect.Effect<Acceptance, AcceptError> | undefined => {
  const buried = books.tombstones.get(nameOf(tenant, key))
  if (buried !== undefined) return refuse(new ResultExpired({ charge: buried.charge }))
  const row = books.keys.get(nameOf(tenant, key))
  if (row === undefined) {
    // Even the tombstone is gone: the operation's key rules while its row lives.
    const lived = [...books.operations.values()].find((found) => found.tenant === tenant && found.key === key)
    return lived === undefined ? undefined : refuse(new ResultExpired({ charge: lived.charge }))
  }
  if (row.told !== undefined && row.expiresAt <= now) return refuse(new ResultExpired({ charge: row.told.charge }))
  if (row.fingerprint !== fingerprint) return refuse(new KeyReused())
  if (row.told !== undefined) {
    return Effect.succeed({ _tag: "Settled", told: { ...row.told, ttlMillis: Math.max(0, row.expiresAt - now) } })
  }
  const open = books.charges.get(row.charge)
  if (open === undefined) return Effect.die("an open key without its charge")
  return Effect.succeed({
    _tag: "Open",
    charge: open.charge,
    firstSeen: rfc3339(row.firstSeen),
    expires: rfc3339(row.expiresAt)
  })
}

const begin = (
  books: Books,
  { tenant, key, fingerprint, request, traceparent }: Intent,
  drawn: Drawn,
  now: number,
  ttl: number
): Effect.Effect<Acceptance, AcceptError> => {
  const other = [...books.charges.values()].find(
    (row) =>
      request.orderId !== null &&
      row.tenant === tenant &&
      row.charge.orderId === request.orderId &&
      row.charge.operationState !== "failed"
  )
  if (other !== undefined) return refuse(new OrderAlreadyCharged({ charge: other.charge.id }))
  const row: KeyRow = {
    tenant,
    key,
    fingerprint,
    charge: drawn.charge,
    firstSeen: now,
    expiresAt: now + ttl,
    told: undefined
  }
  books.keys.set(nameOf(tenant, key), row)
  const debit = account(books, tenant, "receivable", request.currency, now)
  const credit = account(books, tenant, "payable", request.currency, now)
  const refused = refusal(debit, credit, request.amount)
  if (refused !== null) {
    row.told = toldOf(row, "refused", JSON.stringify(refused), null, now)
    return Effect.succeed({ _tag: "Refused", told: row.told })
  }
  const charge: Charge = {
    id: drawn.charge,
    operationState: "accepted",
    amount: request.amount,
    currency: request.currency,
    source: request.source,
    description: request.description,
    orderId: request.orderId,
    createdAt: rfc3339(now),
    failure: null
  }
  const hold: Transfer = {
    id: drawn.hold,
    kind: "hold",
    hold: null,
    debit: debit.id,
    credit: credit.id,
    amount: request.amount
  }
  write(books, hold)
  books.charges.set(charge.id, { tenant, charge })
  const operation = {
    id: drawn.operation,
    tenant,
    key,
    charge: charge.id,
    pspKey: pspKey(tenant, key, "charge", 1),
    hold,
    firstSentAt: now
  }
  books.operations.set(operation.id, operation)
  stageCommand(books, operation, Option.getOrUndefined(traceparent), now)
  return Effect.succeed({ _tag: "Accepted", charge, expires: rfc3339(row.expiresAt) })
}
