/** A share of the calls opens it, not failures in a row: at three of three it is as one that counts to three. */
import CircuitBreaker from "opossum"

import { threshold, windowMillis } from "./Subject.ts"
import type { Subject, Work } from "./Subject.ts"

const refusal = "EOPENBREAKER"

/** Without a timeout, as the others have none; or with its own. */
export const make = (timeoutMillis: number | false) => (): Subject => {
  const breaker = new CircuitBreaker((work: Work, signal: AbortSignal) => work(signal), {
    timeout: timeoutMillis,
    volumeThreshold: threshold,
    errorThresholdPercentage: 50,
    resetTimeout: windowMillis
  })
  return {
    // `fire` takes no signal that it would understand: whoever cancels reaches the work alone.
    call: (work, cancel = new AbortController().signal) =>
      breaker.fire(work, cancel).then(
        () => "succeeded",
        (error: { readonly code?: string }) =>
          cancel.aborted ? "cancelled" : error.code === refusal ? "refused" : "failed"
      ),
    state: () => (breaker.opened ? "open" : breaker.halfOpen ? "half-open" : "closed"),
    close: () => breaker.shutdown()
  }
}
