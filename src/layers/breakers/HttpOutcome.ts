/** What an answer over HTTP shows about whoever gave it, and what one of our own services says in it. */
import { Duration, Option, Schema } from "effect"

import { BreakerError, CallTimedOut, CircuitOpen, DeadlineTooShort } from "../../domain/breakers/Breaker.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"

/** 429 says "leave me alone", which a breaker does; where it is about one tenant of many, ignore it. */
export type Limited = "failure" | "ignored"

const success: Outcome = { _tag: "Success" }

/**
 * Whoever answers is well, be it to say that the caller is wrong. Not so 408, which says that the request did
 * not arrive in time, and 5xx; but 501 is a request that makes no sense there.
 */
export const outcomeOf = (
  status: number,
  retryAfter: Option.Option<Duration.Duration>,
  limited: Limited = "failure"
): Outcome => {
  if (status === 429 && limited === "ignored") return { _tag: "Ignored" }
  if (status === 408 || status === 429 || (status >= 500 && status !== 501)) {
    return { _tag: "Failure", retryAfter: Option.getOrUndefined(retryAfter) }
  }
  return success
}

/** No service of ours lies deeper, and none has a longer name: the longest are those of hosts. */
const pathMax = 32
const nameMax = 300
const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(nameMax))
const Millis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400_000 }))

/** The problems in which a breaker's word crosses from one process to the next. */
const Spoken = Schema.Struct({
  type: Schema.Literals([
    "/problems/dependency-unavailable",
    "/problems/deadline-too-short",
    "/problems/dependency-timeout"
  ]),
  dependency: Name,
  path: Schema.NonEmptyArray(Name).check(Schema.isMaxLength(pathMax)),
  retry_after_ms: Schema.optionalKey(Millis),
  needs_ms: Schema.optionalKey(Millis),
  left_ms: Schema.optionalKey(Millis)
})
const readSpoken = Schema.decodeUnknownOption(Schema.fromJsonString(Spoken))

/** A failure that one of our services passes on, and says whose it is. */
const Blaming = Schema.Struct({
  type: Schema.Literal("/problems/unavailable"),
  dependency: Name,
  path: Schema.NonEmptyArray(Name).check(Schema.isMaxLength(pathMax))
})
const readBlaming = Schema.decodeUnknownOption(Schema.fromJsonString(Blaming))

/** Whether a problem of one of our services is that of somebody further down. */
export const isElsewhere = (body: string): boolean => Option.isSome(readBlaming(body))

/** A problem of one of our services that is a breaker's word, as the error it was there. */
export const spokenIn = (body: string, operation: string): Option.Option<BreakerError> =>
  Option.map(readSpoken(body), ({ dependency, left_ms = 0, needs_ms = 0, path, retry_after_ms = 0, type }) => {
    const reason =
      type === "/problems/dependency-unavailable"
        ? new CircuitOpen({ state: "open", retryAfter: Duration.millis(retry_after_ms) })
        : type === "/problems/deadline-too-short"
          ? new DeadlineTooShort({ needs: Duration.millis(needs_ms), left: Duration.millis(left_ms) })
          : new CallTimedOut({ timeout: Duration.millis(needs_ms) })
    return new BreakerError({ dependency, operation, path, reason })
  })
