/**
 * Who is behind a failure: what a breaker said, wherever in a chain of causes it stands, as the problem it is on
 * the wire. A call that a breaker refused arrives wrapped, as a failure of the store or of the ledger, and is
 * told as what it was: not asked, and when to come back.
 */
import { Duration } from "effect"

import { BreakerError } from "../breakers/Breaker.ts"
import { because, DeadlineTooShort, DependencyTimeout, DependencyUnavailable, type Unavailable } from "./Problem.ts"

export type DependencyProblem = DependencyUnavailable | DeadlineTooShort | DependencyTimeout

/** What is said beside, where a request stands under an idempotency key. */
interface Keyed {
  readonly safe_new_key?: false
  readonly retryable?: true
}

/** A chain of causes that is longer is not ours. */
const depthMax = 16

/** Calls in flight come and go by the second. */
const bulkheadRetryMillis = 1000

const millis = (duration: Duration.Duration) => Math.max(0, Math.ceil(Duration.toMillis(duration)))

/** What a breaker said, if that is what a failure came from. */
export const spokenIn = (failure: unknown): BreakerError | undefined => {
  let at = failure
  for (let depth = 0; depth < depthMax && at instanceof Error; depth++) {
    if (at instanceof BreakerError) return at
    // The reason of an outer error is where its cause is.
    at = "reason" in at && at.reason instanceof Error ? at.reason : at.cause
  }
  return undefined
}

export const problemSpoken = (error: BreakerError, keyed: Keyed = {}): DependencyProblem => {
  const { dependency, path, reason } = error
  switch (reason._tag) {
    case "CircuitOpen":
      return new DependencyUnavailable({ dependency, path, retry_after_ms: millis(reason.retryAfter), ...keyed })
    case "BulkheadFull":
      return new DependencyUnavailable({ dependency, path, retry_after_ms: bulkheadRetryMillis, ...keyed })
    case "DeadlineTooShort":
      return new DeadlineTooShort({
        dependency,
        path,
        needs_ms: millis(reason.needs),
        left_ms: Math.floor(Duration.toMillis(reason.left)),
        ...keyed
      })
    case "CallTimedOut":
      return new DependencyTimeout({
        detail: "What it was asked to do may have been done.",
        dependency,
        path,
        ...keyed
      })
  }
}

/** `otherwise`, unless a breaker spoke. What it said stays with the problem, for the log. */
export const spokenOr = (
  failure: Error,
  otherwise: Unavailable,
  keyed: Keyed = {}
): DependencyProblem | Unavailable => {
  const spoken = spokenIn(failure)
  return because(spoken === undefined ? otherwise : problemSpoken(spoken, keyed), failure)
}

/** Names the dependency that a failure came through, where nothing else has named it. */
export const blamed = (problem: Unavailable, path: readonly [string, ...ReadonlyArray<string>]): Unavailable =>
  problem.dependency === undefined ? Object.assign(problem, { path, dependency: path.at(-1) }) : problem
