/**
 * How often an address may fail to authenticate. The limiter counts, for all processes; the book of this
 * process remembers what it said, so that a good key from a good address pays for none of it.
 */
import { Duration, Effect } from "effect"

import { QuotaExceeded } from "../../domain/api/Problem.ts"
import type { Grant, Limiter, LimiterError } from "../../domain/limits/Limiter.ts"
import { asksForAddress, failedAuthentication } from "../../domain/limits/Plan.ts"
import { AddressBook } from "./AddressBook.ts"

export interface FailureBudget {
  /** What this process knows of an address: for one it does not know, `inquire` first. */
  readonly standing: AddressBook["standing"]
  readonly spent: (refusedMillis: number) => QuotaExceeded
  /** Asks the limiter about an address of which this process knows nothing, charging it nothing. */
  readonly inquire: (address: string, nowMillis: number) => Effect.Effect<void, QuotaExceeded>
  /** Charges a failure. The last one an address may make already closes the door behind it. */
  readonly charge: (address: string, nowMillis: number) => Effect.Effect<void, QuotaExceeded>
  readonly trust: AddressBook["trust"]
}

export const make = (limiter: Limiter["Service"], failuresMax: number): FailureBudget => {
  const policy = failedAuthentication(failuresMax)
  const book = new AddressBook()

  const spent = (refusedMillis: number) =>
    new QuotaExceeded({
      detail: "Too many failed authentications from this address.",
      retry_after_ms: Math.ceil(refusedMillis),
      violated_policies: [policy.name]
    })

  const heard = (address: string, nowMillis: number) => (answer: Effect.Effect<Grant, LimiterError>) =>
    Effect.matchEffect(answer, {
      onSuccess: () => Effect.void,
      onFailure: ({ reason }) => {
        // Who cannot be counted is looked up all the same: the key alone decides.
        if (reason._tag !== "RateLimited") return Effect.void
        const refusedMillis = Duration.toMillis(reason.retryAfter)
        book.refuse(address, nowMillis, refusedMillis)
        return Effect.fail(spent(refusedMillis))
      }
    })

  return {
    standing: (address, nowMillis) => book.standing(address, nowMillis),
    spent,
    trust: (address, nowMillis) => book.trust(address, nowMillis),
    inquire: (address, nowMillis) =>
      limiter.peek({ keys: asksForAddress(policy, address), cost: 1 }).pipe(heard(address, nowMillis)),
    charge: (address, nowMillis) =>
      limiter.take({ keys: asksForAddress(policy, address), cost: 1 }).pipe(
        Effect.tap(({ quotas: [quota] }) =>
          Effect.sync(() => {
            if (quota?.remaining === 0) book.refuse(address, nowMillis, Duration.toMillis(quota.resetAfter))
          })
        ),
        heard(address, nowMillis)
      )
  }
}
