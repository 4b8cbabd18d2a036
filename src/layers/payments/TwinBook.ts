/**
 * The bank inside the provider's twin: the rules of its tokens, its dedupe by key, and what it captured.
 * Every change is handed to `append` before anyone is told of it, and a book made from the same records is
 * the same book. Work goes on when the caller hangs up, as a provider's does.
 */
import { Clock, DateTime, Deferred, Duration, Effect, Schema } from "effect"
import type { Scope } from "effect"

/** What is asked: the body of a capture, and the key it came under. */
export class Order extends Schema.Class<Order>("TwinOrder")({
  amount: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
  currency: Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/)),
  source: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(255)),
  description: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(1000))),
  reference: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(255)))
}) {}

const Money = { psp_key: Schema.String, amount: Schema.Int, currency: Schema.String, source: Schema.String }

/** The money of `psp_key` was moved, or refused for good. Times are milliseconds since 1970. */
export const Settled = Schema.TaggedStruct("settled", {
  id: Schema.String,
  ...Money,
  state: Schema.Literals(["captured", "declined"]),
  at: Schema.Int
})
export type Settled = typeof Settled.Type

/** A request arrived under a key; `request` is its body in a canonical form. */
const Sent = Schema.TaggedStruct("sent", { psp_key: Schema.String, request: Schema.String, at: Schema.Int })
const Switched = Schema.TaggedStruct("switched", { token: Schema.String, alive: Schema.Boolean })

/** One line of the book. */
export const Entry = Schema.Union([Sent, Settled, Switched])
export type Entry = typeof Entry.Type

export type Answer =
  /** `silent`: executed, and nobody is told. */
  | { readonly _tag: "Settled"; readonly payment: Settled; readonly silent: boolean }
  | { readonly _tag: "Busy"; readonly limited: boolean; readonly retryAfter: Duration.Duration }
  | { readonly _tag: "KeyReused" }
  | { readonly _tag: "SourceUnknown" }

/** What the twin really did, as its listing tells it. */
export interface Payment {
  readonly id: string
  readonly psp_key: string
  readonly amount: number
  readonly currency: string
  readonly source: string
  readonly state: "captured"
  readonly captured_at: string
  /** Requests that arrived under this key so far. */
  readonly sends: number
}

export interface TwinBook {
  readonly charge: (pspKey: string, order: Order) => Effect.Effect<Answer>
  readonly find: (pspKey: string) => Effect.Effect<Settled | undefined>
  readonly captured: Effect.Effect<ReadonlyArray<Payment>>
  /** False when there is no such token to switch. */
  readonly switch: (token: string, alive: boolean) => Effect.Effect<boolean>
}

export interface Options {
  /** How long a key is remembered; after it the same key moves money again, as with a real provider. */
  readonly window: Duration.Duration
  /** What the book held before. */
  readonly entries: ReadonlyArray<Entry>
  /** Beyond this many keys it refuses new ones, busy: it is a double, with the memory of one. */
  readonly keysMax: number
  /** Keeps an entry, before this returns. */
  readonly append: (entry: Entry) => void
}

const retryAfter = Duration.seconds(1)
const busyAnswers = 2
const slowness = Duration.seconds(3)

/** How the twin words its refusals. */
export const cardDeclined = { code: "card_declined", message: "The card was declined." }
export const keyReused = { code: "idempotency_key_reused", message: "This key belongs to another request." }
export const sourceUnknown = { code: "invalid_source", message: "There is no such source." }

interface Key {
  readonly request: string
  readonly since: number
  sends: number
  settled: Settled | undefined
  running: Deferred.Deferred<Answer> | undefined
}

export const make = (options: Options): Effect.Effect<TwinBook, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const windowMillis = Duration.toMillis(options.window)
    const keys = new Map<string, Key>()
    const captures: Array<{ readonly payment: Settled; readonly key: Key }> = []
    const alive = new Set<string>()
    let settledCount = 0

    const remember = (entry: Entry) => {
      if (entry._tag === "switched") {
        if (entry.alive) alive.add(entry.token)
        else alive.delete(entry.token)
        return
      }
      const known = keys.get(entry.psp_key)
      if (entry._tag === "sent") {
        if (known !== undefined && entry.at < known.since + windowMillis) known.sends++
        else {
          keys.set(entry.psp_key, {
            request: entry.request,
            since: entry.at,
            sends: 1,
            settled: undefined,
            running: undefined
          })
        }
        return
      }
      if (known === undefined) throw new Error(`${entry.id} was settled without having been sent`)
      settledCount++
      known.settled = entry
      if (entry.state === "captured") captures.push({ payment: entry, key: known })
    }
    options.entries.forEach(remember)

    const write = (entry: Entry) => {
      options.append(entry)
      remember(entry)
    }

    const settle = (pspKey: string, order: Order, state: Settled["state"], silent = false): Effect.Effect<Answer> =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        const { amount, currency, source } = order
        const id = `py_${settledCount + 1}_${pspKey.slice(0, 8)}`
        const payment = Settled.make({ id, psp_key: pspKey, amount, currency, source, state, at })
        write(payment)
        return { _tag: "Settled", payment, silent }
      })

    const play = (pspKey: string, order: Order, sends: number): Effect.Effect<Answer> => {
      switch (order.source) {
        case "tok_visa":
          return settle(pspKey, order, "captured")
        case "tok_declined":
          return settle(pspKey, order, "declined")
        case "tok_timeout":
          return settle(pspKey, order, "captured", true)
        case "tok_busy":
          return sends <= busyAnswers ? Effect.succeed(busy(false)) : settle(pspKey, order, "captured")
        case "tok_slow":
          return Effect.delay(settle(pspKey, order, "captured"), slowness)
        case "tok_dead":
          return alive.has(order.source) ? settle(pspKey, order, "captured") : Effect.succeed(busy(true))
        default:
          return Effect.succeed({ _tag: "SourceUnknown" })
      }
    }

    const charge: TwinBook["charge"] = Effect.fnUntraced(function* (pspKey, order) {
      const at = yield* Clock.currentTimeMillis
      const request = canonical(order)
      const known = keys.get(pspKey)
      const current = known !== undefined && at < known.since + windowMillis ? known : undefined
      if (current === undefined && keys.size >= options.keysMax) return busy(false)
      if (current !== undefined && current.request !== request) return { _tag: "KeyReused" } as const
      write(Sent.make({ psp_key: pspKey, request, at }))
      const key = keys.get(pspKey)
      if (key === undefined) return yield* Effect.die("a key just written is not there")
      if (key.settled !== undefined) {
        return { _tag: "Settled", payment: key.settled, silent: order.source === "tok_timeout" } as const
      }
      if (key.running === undefined) {
        const running = Deferred.makeUnsafe<Answer>()
        key.running = running
        // Who repeats a request that is still running waits for the same answer; only one moves money.
        yield* play(pspKey, order, key.sends).pipe(
          Effect.ensuring(Effect.sync(() => (key.running = undefined))),
          Effect.onExit((exit) => Deferred.done(running, exit)),
          Effect.forkIn(scope, { startImmediately: true })
        )
        return yield* Deferred.await(running)
      }
      return yield* Deferred.await(key.running)
    })

    return {
      charge,
      find: (pspKey) => Effect.sync(() => keys.get(pspKey)?.settled),
      captured: Effect.sync(() => captures.map(({ payment, key }) => listed(payment, key.sends))),
      switch: (token, on) =>
        Effect.sync(() => {
          if (token !== "tok_dead") return false
          write(Switched.make({ token, alive: on }))
          return true
        })
    }
  })

const busy = (limited: boolean): Answer => ({ _tag: "Busy", limited, retryAfter })

/** Two bodies are the same request when these are equal, whatever the order of their members. */
const canonical = ({ amount, currency, source, description, reference }: Order) =>
  [amount, currency, source, description ?? "", reference ?? ""].map(String).map(encodeURIComponent).join(" ")

const listed = ({ id, psp_key, amount, currency, source, at }: Settled, sends: number): Payment => ({
  id,
  psp_key,
  amount,
  currency,
  source,
  state: "captured",
  captured_at: DateTime.formatIso(DateTime.makeUnsafe(at)),
  sends
})
