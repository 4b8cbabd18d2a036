/** One breaker per remote dependency: what callers see of it. */
import { Context, Schema } from "effect"
import type { Duration, Effect } from "effect"

import type { AdvisoryRead, AuthoritativeRead, Dependency, Write } from "./Dependency.ts"

/** Believed to be down, or just back: nobody is admitted before `retryAfter`. Forced by an operator, if so. */
export class CircuitOpen extends Schema.TaggedError<CircuitOpen>()("CircuitOpen", {
  state: Schema.Literals(["open", "half-open", "ramping", "forced-open"]),
  retryAfter: Schema.Duration
}) {}

/** As many calls are in flight as may be. */
export class BulkheadFull extends Schema.TaggedError<BulkheadFull>()("BulkheadFull", {
  inFlightMax: Schema.Int
}) {}

/** The call could take longer than its caller waits. No mark against the dependency. */
export class DeadlineTooShort extends Schema.TaggedError<DeadlineTooShort>()("DeadlineTooShort", {
  needs: Schema.Duration,
  left: Schema.Duration
}) {}

/** It ran, had no answer after `timeout`, and was interrupted: a write may have been executed. */
export class CallTimedOut extends Schema.TaggedError<CallTimedOut>()("CallTimedOut", { timeout: Schema.Duration }) {}

/**
 * The breaker's own answer, in place of the call's. Of its reasons only `CallTimedOut` means that the call ran;
 * calls further up on the path were running, of course.
 * `path` leads from the outermost breaker to the one that spoke; `dependency` is that one, the culprit.
 */
export class BreakerError extends Schema.TaggedError<BreakerError>()("BreakerError", {
  dependency: Schema.String,
  operation: Schema.String,
  path: Schema.NonEmptyArray(Schema.String),
  reason: Schema.Union([CircuitOpen, BulkheadFull, DeadlineTooShort, CallTimedOut])
}) {
  override get message() {
    return `${this.path.join(" > ")}: ${this.operation} ${words[this.reason._tag]}`
  }
}

const words = {
  CircuitOpen: "is not called for now",
  BulkheadFull: "has too many calls in flight",
  DeadlineTooShort: "could outlast its caller's deadline",
  CallTimedOut: "had no answer in time"
} as const

/**
 * On the cause of a failure that is the caller's own error or a defect: the dependencies it came through, the
 * outermost first, the culprit last.
 */
export class FailedThrough extends Context.Service<FailedThrough, readonly [string, ...ReadonlyArray<string>]>()(
  "cribwork/breakers/Breaker/FailedThrough"
) {}

/** Whether a call would run now. `retryAfter` is zero when it would. */
export interface Permit {
  readonly state: State
  readonly admits: boolean
  readonly retryAfter: Duration.Duration
}

export type State = "closed" | "open" | "half-open" | "ramping" | "forced-open" | "forced-closed"

/** Something known from before, and how old it is. */
export interface Known<A> {
  readonly value: A
  readonly age: Duration.Duration
}

/** The dependency's answer, of now. */
export interface Fresh<A> {
  readonly _tag: "Fresh"
  readonly value: A
}

/** What a fallback knew, since the dependency did not answer. Never older than `maxAge`. */
export interface Stale<A> extends Known<A> {
  readonly _tag: "Stale"
  readonly maxAge: Duration.Duration
}

/**
 * One breaker per remote dependency.
 *
 * - Nobody is queued: a refused call fails at once and has not run.
 * - In a half-open period one call runs, for any number of callers; a probe that hangs is given up.
 * - After a close calls come back little by little.
 * - An answer that comes after the breaker moved on changes nothing; an interrupted call counts as nothing.
 * - A call that cannot end before its caller's deadline is not begun, nor one that could outlast the call it is
 *   part of: whoever waits would be blamed for what hangs.
 * - A write, and a read whose answer counts as true, fails loud. Only an advisory read has a fallback.
 * - A refusal by a breaker further down is no failure of those above it.
 */
export class Breaker extends Context.Service<
  Breaker,
  {
    readonly write: <A, E, R>(
      operation: Write<E>,
      effect: Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | BreakerError, R>
    readonly read: {
      <A, E, R>(operation: AuthoritativeRead<E>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | BreakerError, R>
      /**
       * The fallback runs when the dependency failed or was not asked, not when the caller is at fault. When it
       * fails too, or knows nothing young enough, the first error surfaces.
       */
      <A, E, R, E2, R2>(
        operation: AdvisoryRead<E>,
        effect: Effect.Effect<A, E, R>,
        fallback: Effect.Effect<Known<A>, E2, R2>
      ): Effect.Effect<Fresh<A> | Stale<A>, E | BreakerError, R | R2>
    }
    /** Asks without calling, so that a worker can leave work where it is instead of taking it up to be refused. */
    readonly permits: (dependency: Dependency) => Effect.Effect<Permit>
  }
>()("cribwork/breakers/Breaker") {}
