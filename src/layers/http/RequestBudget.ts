/**
 * How long a request may take: what a route has to answer, plus the wait that the client asked for, and never
 * more than the caller says it has left. What a caller says can only narrow.
 */
import type { IncomingHttpHeaders } from "node:http"

import { Duration } from "effect"

import * as Deadline from "../../domain/Deadline.ts"
import { preferWait } from "./PreferWait.ts"

const nanosOf = (duration: Duration.Duration) => BigInt(Math.round(Duration.toMillis(duration) * 1e6))

export class RequestBudget {
  readonly routeNanos: bigint
  readonly #waitMax: Duration.Duration

  constructor(answerTimeout: Duration.Duration, waitMax: Duration.Duration) {
    this.routeNanos = nanosOf(answerTimeout)
    this.#waitMax = waitMax
  }

  /** Nanoseconds; undefined when the caller's deadline is none. */
  of(headers: IncomingHttpHeaders): bigint | undefined {
    const { prefer, [Deadline.header]: told } = headers
    // Nearly every request says neither.
    if (prefer === undefined && told === undefined) return this.routeNanos
    const wait = preferWait(typeof prefer === "string" ? prefer : undefined, this.#waitMax)
    const own = this.routeNanos + nanosOf(wait)
    if (told === undefined) return own
    const left = typeof told === "string" ? Deadline.fromHeader(told) : undefined
    if (left === undefined) return undefined
    const leftNanos = nanosOf(left)
    return leftNanos < own ? leftNanos : own
  }
}
