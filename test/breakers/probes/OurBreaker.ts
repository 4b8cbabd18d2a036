/**
 * `MemoryBreakers`, set as the others are: nobody ends a call for its caller, nothing is drawn by chance, and
 * whoever closed is closed. What gives up a probe that hangs is its lease.
 */
import { Cause, Duration, Effect, Exit, Layer, Logger, ManagedRuntime } from "effect"

import { Breaker, BreakerError } from "../../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../../src/layers/breakers/MemoryBreakers.ts"
import { threshold, windowMillis } from "./Subject.ts"
import type { State, Subject } from "./Subject.ts"

const window = Duration.millis(windowMillis)
const dependency = Dependency.make("dependency", "test", {
  timeout: Duration.times(window, 3),
  endedBy: "client",
  probeSlack: window,
  ramp: "none"
})
const asked = Dependency.write(dependency, "ask", {
  classify: (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
})

export const make = async (): Promise<Subject> => {
  const runtime = ManagedRuntime.make(
    // The cap takes the jitter away, so that all are open equally long.
    MemoryBreakers.layerWith({ failuresMax: threshold, window, windowCap: window, fleet: 1 }).pipe(
      Layer.provideMerge(Logger.layer([]))
    )
  )
  const breaker = await runtime.runPromise(Breaker)
  return {
    call: async (work, signal) => {
      const exit = await runtime.runPromiseExit(
        breaker.write(asked, Effect.tryPromise(work)),
        signal === undefined ? undefined : { signal }
      )
      if (Exit.isSuccess(exit)) return "succeeded"
      if (Cause.hasInterruptsOnly(exit.cause)) return "cancelled"
      return Cause.squash(exit.cause) instanceof BreakerError ? "refused" : "failed"
    },
    state: () =>
      runtime.runPromise(
        Effect.map(breaker.permits(dependency), ({ state }): State => {
          if (state === "closed" || state === "open" || state === "half-open") return state
          throw new Error(`${state} was not asked for`)
        })
      ),
    close: () => runtime.dispose()
  }
}
