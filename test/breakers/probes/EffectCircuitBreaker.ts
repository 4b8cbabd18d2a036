import { Cause, Effect, Exit, Layer, ManagedRuntime } from "effect"
import { CircuitBreaker } from "effect/persistence"

import { threshold, windowMillis } from "./Subject.ts"
import type { State, Subject } from "./Subject.ts"

const key = "dependency"
const states: Readonly<Record<CircuitBreaker.State["_tag"], State>> = {
  Closed: "closed",
  Open: "open",
  HalfOpen: "half-open"
}

export const make = async (): Promise<Subject> => {
  const runtime = ManagedRuntime.make(
    CircuitBreaker.layer({ tripPolicy: CircuitBreaker.consecutive(threshold), openDuration: windowMillis }).pipe(
      Layer.provide(CircuitBreaker.layerStoreMemory())
    )
  )
  const breaker = await runtime.runPromise(CircuitBreaker.CircuitBreaker)
  return {
    call: async (work, signal) => {
      const exit = await runtime.runPromiseExit(
        breaker.execute(Effect.tryPromise(work), { key }),
        signal === undefined ? undefined : { signal }
      )
      if (Exit.isSuccess(exit)) return "succeeded"
      if (Cause.hasInterruptsOnly(exit.cause)) return "cancelled"
      return Cause.squash(exit.cause) instanceof CircuitBreaker.CircuitBreakerError ? "refused" : "failed"
    },
    state: () => runtime.runPromise(Effect.map(breaker.state(key), ({ _tag }) => states[_tag])),
    close: () => runtime.dispose()
  }
}
