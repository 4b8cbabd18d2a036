/** All breakers of a process: what operators see of them. */
import { Context, Data, Schema } from "effect"
import type { DateTime, Duration, Effect, Stream } from "effect"

import type { State } from "./Breaker.ts"
import type { Dependency } from "./Dependency.ts"

/** A policy that cannot be kept, found before anything is called. */
export class PolicyRefused extends Data.TaggedError("PolicyRefused")<{
  readonly dependency: string
  readonly why: string
}> {
  override get message() {
    return `breaker ${this.dependency}: ${this.why}`
  }
}

/** An operator's order. `auto` gives the breaker back to itself. */
export const Forced = Schema.Literals(["open", "closed", "auto"])
export type Forced = typeof Forced.Type

/** Obeyed until `until`, whatever calls show meanwhile. */
export interface Force {
  readonly to: "open" | "closed"
  readonly until: DateTime.Utc
}

/** One breaker, as it is now. Rates are of the calls its windows hold, undefined where it has none. */
export interface Snapshot {
  readonly dependency: string
  readonly kind: string
  readonly state: State
  /** How long it has been in this state. */
  readonly since: Duration.Duration
  readonly retryAfter: Duration.Duration
  readonly inFlight: number
  readonly failuresInRow: number
  readonly failureRate: number | undefined
  readonly slowRate: number | undefined
  /** Failed probes in a row that the next window grows by. */
  readonly backoff: number
  /** Share of calls that are let through, in (0, 1]. */
  readonly admitted: number
  readonly force: Force | undefined
}

/** A step from one state to another, told once, in order. */
export interface Transition {
  readonly dependency: string
  readonly from: State
  readonly to: State
  readonly at: DateTime.Utc
  /** In words: "5 failures in a row", "60 % of 20 calls were slow", "forced". */
  readonly why: string
}

/**
 * The registry of a process' breakers.
 *
 * - A dependency is declared once, when layers are built; a policy that contradicts itself, or a second policy
 *   under one name, fails there. A call to one that was not declared declares it, and dies of the same.
 * - A forced state is obeyed from the next call on.
 * - `changes` keeps the newest few for a subscriber who is slow, and costs nothing without one.
 */
export class Breakers extends Context.Service<
  Breakers,
  {
    readonly declare: (dependency: Dependency) => Effect.Effect<void, PolicyRefused>
    /**
     * Drops a breaker and what it has seen, for names that are made from input and would only grow in number. Calls in
     * flight come to their end and count nowhere; an order is remembered for when it is declared again.
     */
    readonly forget: (dependency: string) => Effect.Effect<void>
    /** Open ones with no open breaker below them first: where to look. */
    readonly snapshots: Effect.Effect<ReadonlyArray<Snapshot>>
    /** Undefined gives it back to itself. A name that is not declared here is remembered for when it is. */
    readonly force: (dependency: string, force: Force | undefined) => Effect.Effect<void>
    /** It opened elsewhere: for `lasting`, a fifth of the usual evidence opens it here. Never opens by itself. */
    readonly hint: (dependency: string, lasting: Duration.Duration) => Effect.Effect<void>
    readonly changes: Stream.Stream<Transition>
  }
>()("cribwork/breakers/Breakers") {}
