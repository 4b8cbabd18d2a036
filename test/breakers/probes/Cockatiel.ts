import { BrokenCircuitError, circuitBreaker, CircuitState, ConsecutiveBreaker, handleAll } from "cockatiel"

import { threshold, windowMillis } from "./Subject.ts"
import type { Subject } from "./Subject.ts"

export const make = (): Subject => {
  const breaker = circuitBreaker(handleAll, {
    halfOpenAfter: windowMillis,
    breaker: new ConsecutiveBreaker(threshold)
  })
  return {
    call: (work, cancel) =>
      breaker
        .execute(({ signal }) => work(signal), cancel)
        .then(
          () => "succeeded",
          (error: unknown) =>
            cancel?.aborted === true ? "cancelled" : error instanceof BrokenCircuitError ? "refused" : "failed"
        ),
    state: () => {
      if (breaker.state === CircuitState.Closed) return "closed"
      return breaker.state === CircuitState.HalfOpen ? "half-open" : "open"
    },
    close: () => {}
  }
}
