/**
 * One call on its way through a gate: let in or refused, and settled once, whoever is first to say how it ended.
 * A refusal is made without a stack, which would cost more than the call it spares.
 */
import { Cause, Context, Duration, Exit } from "effect"
import type { Fiber } from "effect"

import { BreakerError, BulkheadFull, CallTimedOut, CircuitOpen } from "../../domain/breakers/Breaker.ts"
import { DeadlineTooShort, FailedThrough } from "../../domain/breakers/Breaker.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"
import type { AdvisoryRead, AuthoritativeRead, Write } from "../../domain/breakers/Dependency.ts"
import * as Deadline from "../../domain/Deadline.ts"
import { type Admission, type Gate, noteOnSpan } from "./Gate.ts"
import type { Refusal } from "./Signals.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>
export type Operation<E> = Write<E> | AuthoritativeRead<E> | AdvisoryRead<E>

export class Call<E> {
  readonly timeoutMillis: number
  readonly #gate: Gate
  readonly #operation: Operation<E>
  readonly #fiber: AnyFiber
  #admission: Admission | undefined

  constructor(gate: Gate, operation: Operation<E>, fiber: AnyFiber) {
    const { timeout } = operation
    this.timeoutMillis = timeout === undefined ? gate.terms.timeoutMillis : Duration.toMillis(timeout)
    this.#gate = gate
    this.#operation = operation
    this.#fiber = fiber
  }

  /** Undefined when it was let in; it must be settled then. */
  enter(): BreakerError | undefined {
    const gate = this.#gate
    const leftMillis = Deadline.leftMillisOf(this.#fiber)
    if (leftMillis !== undefined && leftMillis <= this.timeoutMillis) {
      const [needs, left] = [Duration.millis(this.timeoutMillis), Duration.millis(leftMillis)]
      return this.#refused("deadline", () => new DeadlineTooShort({ needs, left }))
    }
    if (gate.isFull) return this.#refused("bulkhead", () => new BulkheadFull({ inFlightMax: gate.terms.inFlightMax }))
    const entered = gate.admit(this.#fiber)
    if ("state" in entered) {
      const { retryAfterMillis, state } = entered
      return this.#refused(state, () => new CircuitOpen({ state, retryAfter: Duration.millis(retryAfterMillis) }))
    }
    this.#admission = entered
    return undefined
  }

  /** Settles it by what it came to. */
  leave(exit: Exit.Exit<unknown, E | BreakerError>): void {
    if (this.#admission === undefined) return
    let outcome: Outcome = ignored
    try {
      outcome = outcomeOf(this.#operation, exit)
    } finally {
      this.#settle(outcome) // Also when the classifier throws: its defect surfaces, and the slot is free.
    }
  }

  /** Nobody waits for it any more. */
  abandon(): void {
    this.#settle(ignored)
  }

  /** Its time is over, and what it comes to later is of no interest. */
  expire(): BreakerError {
    this.#settle(failure)
    const timeout = Duration.millis(this.timeoutMillis)
    return this.#error(() => new CallTimedOut({ timeout }))
  }

  /** What failed on its way out learns that it came through here. */
  through<E2>(cause: Cause.Cause<E2>): Cause.Cause<E2 | BreakerError> {
    if (Cause.hasInterruptsOnly(cause)) return cause
    const gate = this.#gate
    const { name } = gate.dependency
    const spoken = breakerErrorOf(cause)
    if (spoken === undefined) {
      const below = pathOf(cause)
      const path = [name, ...below] as const
      gate.note(below)
      noteOnSpan(this.#fiber, "breaker.failed", { dependency: path.at(-1), path: path.join(" > ") })
      return Cause.annotate(cause, Context.make(FailedThrough, path), { overwrite: true })
    }
    if (spoken.path[0] === name) return cause
    gate.note(spoken.path)
    const { dependency, operation, path, reason } = spoken
    return Cause.fail(withoutStack(() => new BreakerError({ dependency, operation, path: [name, ...path], reason })))
  }

  #settle(outcome: Outcome): void {
    const admission = this.#admission
    if (admission === undefined) return
    this.#admission = undefined
    this.#gate.settle(admission, outcome, this.#fiber)
  }

  #refused(reason: Refusal, make: () => BreakerError["reason"]): BreakerError {
    const gate = this.#gate
    gate.signals.refused(reason)
    const operation = this.#operation.name
    noteOnSpan(this.#fiber, "breaker.refused", { dependency: gate.dependency.name, operation, reason })
    return this.#error(make)
  }

  #error(reason: () => BreakerError["reason"]): BreakerError {
    const dependency = this.#gate.dependency.name
    const operation = this.#operation.name
    return withoutStack(() => new BreakerError({ dependency, operation, path: [dependency], reason: reason() }))
  }
}

const ignored: Outcome = { _tag: "Ignored" }
const failure: Outcome = { _tag: "Failure" }

/**
 * Interruption shows nothing, and neither does what failed behind a breaker further down: it has counted there.
 * For the caller in front of it all of that is a failure, for which `covered` asks.
 */
export const outcomeOf = <E>(
  operation: Operation<E>,
  exit: Exit.Exit<unknown, E | BreakerError>,
  covered = false
): Outcome => {
  if (Exit.isFailure(exit)) {
    if (Cause.hasInterruptsOnly(exit.cause)) return ignored
    if (breakerErrorOf(exit.cause) !== undefined) return covered ? failure : ignored
    if (!covered && pathOf(exit.cause).length > 1) return ignored
  }
  // What is left cannot be a breaker's word.
  const classify = operation.classify as (exit: Exit.Exit<unknown, E | BreakerError>) => Outcome
  return classify(exit)
}

const pathOf = (cause: Cause.Cause<unknown>): ReadonlyArray<string> =>
  Context.getOrUndefined(Cause.annotations(cause), FailedThrough) ?? []

const breakerErrorOf = (cause: Cause.Cause<unknown>): BreakerError | undefined => {
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason) && reason.error instanceof BreakerError) return reason.error
  }
  return undefined
}

const withoutStack = <A>(make: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
