/**
 * A request to charge, from the key to the answer: the short way first (what was told before), then the
 * acceptance, then, for those who want to wait, the outcome.
 */
import { Context, Duration, Effect, Layer, Option, Schedule } from "effect"

import { type Charge, isSettled, statement } from "../../domain/payments/Charge.ts"
import { AcceptError, Charges, type Intent, KeyReused } from "../../domain/payments/Charges.ts"
import { IdempotencyStore, type Outcome } from "../../domain/payments/IdempotencyStore.ts"
import { Wake } from "./Wake.ts"

/** What a caller is told. `replayed`: the key had been used before. */
export interface Answer {
  readonly outcome: Outcome | "pending"
  /** The charge's statement, or the ledger's refusal. */
  readonly document: string
  readonly charge: string | null
  readonly replayed: boolean
  readonly firstSeen: string
  readonly expires: string
}

/** From a glance to a steady look: fast while a provider usually answers, light when it does not. */
const looks = Schedule.min([Schedule.exponential("10 millis"), Schedule.spaced("200 millis")])

export class ChargeIntake extends Context.Service<
  ChargeIntake,
  {
    /** Waits up to `wait` for the outcome; what is still pending then is answered as such. */
    readonly charge: (intent: Intent, wait: Duration.Duration) => Effect.Effect<Answer, AcceptError>
  }
>()("cribwork/payments/ChargeIntake") {}

const make = Effect.gen(function* () {
  const charges = yield* Charges
  const keys = yield* IdempotencyStore
  const wake = yield* Wake

  /** The charge as it was last seen: settled, or when the wait was over. Trouble while looking is no news. */
  const settled = Effect.fnUntraced(function* (intent: Intent, charge: Charge, wait: Duration.Duration) {
    let seen = charge
    if (Duration.isZero(wait)) return seen
    yield* charges.find(intent.tenant, charge.id).pipe(
      Effect.map((found) => {
        seen = found
      }),
      Effect.ignore,
      Effect.repeat({ schedule: looks, until: () => isSettled(seen.operationState) }),
      Effect.timeoutOption(wait)
    )
    return seen
  })

  const pending = Effect.fnUntraced(function* (
    intent: Intent,
    open: { readonly charge: Charge; readonly firstSeen: string; readonly expires: string },
    replayed: boolean,
    wait: Duration.Duration
  ) {
    const charge = yield* settled(intent, open.charge, wait)
    return {
      outcome:
        charge.operationState === "succeeded" || charge.operationState === "failed" ? charge.operationState : "pending",
      document: statement(charge),
      charge: charge.id,
      replayed,
      firstSeen: open.firstSeen,
      expires: open.expires
    } satisfies Answer
  })

  const charge: ChargeIntake["Service"]["charge"] = Effect.fnUntraced(function* (intent, wait) {
    const recalled = yield* keys.recall(intent.tenant, intent.key)
    if (Option.isSome(recalled)) {
      if (recalled.value.fingerprint !== intent.fingerprint) {
        return yield* new AcceptError({ reason: new KeyReused() })
      }
      return { ...recalled.value, replayed: true }
    }
    const acceptance = yield* charges.accept(intent)
    switch (acceptance._tag) {
      case "Accepted": {
        yield* wake.wake
        const open = { ...acceptance, firstSeen: acceptance.charge.createdAt }
        return yield* pending(intent, open, false, wait)
      }
      case "Open":
        return yield* pending(intent, acceptance, true, wait)
      case "Refused":
      case "Settled":
        yield* keys.remember(intent.tenant, intent.key, acceptance.told)
        return { ...acceptance.told, replayed: acceptance._tag === "Settled" }
    }
  })

  return ChargeIntake.of({ charge })
})

export const layer: Layer.Layer<ChargeIntake, never, Charges | IdempotencyStore | Wake> = Layer.effect(
  ChargeIntake,
  make
)
