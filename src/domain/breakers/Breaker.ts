import { Context, Schema } from "effect"
import type { Duration, Effect, Exit } from "effect"

import type { Outcome } from "./Circuit.ts"

/**
 * How a dependency's breaker behaves; what is left out comes from the adapter's settings. It must make sense
 * together with them: a window above its cap is a defect of the first call.
 */
export interface Policy {
  /** Failures in a row that open the breaker. */
  readonly failuresMax?: number
  /** First open window; doubles with every failed probe, and each is drawn between itself and its double. */
  readonly window?: Duration.Duration
  /** Longest open window, jitter included. */
  readonly windowCap?: Duration.Duration
  /** How long a probe may take before the next caller probes. Choose it above the call's own timeout. */
  readonly probeLease?: Duration.Duration
}

/** Something remote that can fail alone; one breaker each. Names are written in code, never made from input. */
export interface Dependency {
  readonly name: string
  readonly policy: Policy
}

/** Whether a call would run now. `retryAfter` is zero when it would. */
export interface Permit {
  readonly state: "closed" | "open" | "half-open"
  readonly admits: boolean
  readonly retryAfter: Duration.Duration
}

/**
 * Not called: the dependency is believed to be down. Nobody is admitted before `retryAfter` while the breaker
 * is open; while its one probe runs, `retryAfter` is only when it makes sense to ask again.
 */
export class CircuitOpen extends Schema.TaggedError<CircuitOpen>()("CircuitOpen", {
  dependency: Schema.String,
  retryAfter: Schema.Duration
}) {
  override get message() {
    return `${this.dependency} is not called for now`
  }
}

/**
 * One breaker per remote dependency.
 *
 * - Nobody is queued: a refused call fails at once with `CircuitOpen` and has not run.
 * - In a half-open period one call runs, for any number of callers.
 * - An answer that comes after the breaker moved on changes nothing.
 * - An interrupted call counts as nothing and frees its slot.
 * - A probe that never settles is given up when its lease ends.
 */
export class Breaker extends Context.Service<
  Breaker,
  {
    /**
     * Runs `effect`, unless the breaker refuses. `classify` sees every exit but interruption, defects too,
     * and decides what it shows about the dependency: the caller's own mistakes are a `Success` of the
     * dependency, a refusal by another breaker is `Ignored`.
     */
    readonly call: <A, E, R>(
      dependency: Dependency,
      classify: (exit: Exit.Exit<A, E>) => Outcome,
      effect: Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | CircuitOpen, R>
    /** Asks without calling, so that a worker can leave work where it is instead of taking it up to be refused. */
    readonly permits: (dependency: Dependency) => Effect.Effect<Permit>
  }
>()("cribwork/breakers/Breaker") {}
