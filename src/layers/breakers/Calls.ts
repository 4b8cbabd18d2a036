/**
 * What callers see of the gates of this process. Written for the call that succeeds while closed: no
 * generator, no span, and nothing read but the time. A refusal is made without a stack, which would cost more
 * than the call it spares.
 */
import { Cause, Context, Duration, Effect, Exit, Fiber, Option } from "effect"

import { type Breaker, BreakerError, BulkheadFull, CallTimedOut, CircuitOpen } from "../../domain/breakers/Breaker.ts"
import { DeadlineTooShort, FailedThrough } from "../../domain/breakers/Breaker.ts"
import type { Fresh, Known, Stale } from "../../domain/breakers/Breaker.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"
import { AdvisoryRead } from "../../domain/breakers/Dependency.ts"
import type { AuthoritativeRead, Dependency, Write } from "../../domain/breakers/Dependency.ts"
import * as Deadline from "../../domain/Deadline.ts"
import type { Deadlines } from "../platform/Deadlines.ts"
import { type Admission, type Gate, noteOnSpan } from "./Gate.ts"
import type { Refusal } from "./Signals.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>
type Operation<E> = Write<E> | AuthoritativeRead<E> | AdvisoryRead<E>

export const make = (
  gateOf: (dependency: Dependency, fiber: AnyFiber) => Gate,
  deadlines: Deadlines
): Breaker["Service"] => {
  /** Runs a call in a fiber of its own, which can be interrupted when its time is over. */
  const timed = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    millis: number,
    fiber: AnyFiber,
    overdue: () => BreakerError
  ): Effect.Effect<A, E | BreakerError, R> =>
    Effect.callback((resume) => {
      const child = Effect.runForkWith(fiber.context as Context.Context<R>)(effect)
      const ended = child.pollUnsafe()
      if (ended !== undefined) return resume(ended)
      const wait = deadlines.start(millis, () => {
        resume(Effect.fail(overdue()))
        child.interruptUnsafe()
      })
      child.addObserver((exit) => {
        wait.end()
        resume(exit)
      })
      return Effect.suspend(() => {
        wait.end()
        return Fiber.interrupt(child)
      })
    })

  const guarded = <A, E, R>(
    operation: Operation<E>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | BreakerError, R> =>
    Effect.withFiber((fiber) => {
      const gate = gateOf(operation.dependency, fiber)
      let admission: Admission | undefined
      const settle = (outcome: Outcome) => {
        if (admission === undefined) return
        const under = admission
        admission = undefined
        gate.settle(under, outcome, fiber)
      }
      // Admitted only inside of what settles it: a fiber can be interrupted between any two of its steps.
      const call = Effect.withFiber<A, E | BreakerError, R>(() => {
        const millis = operation.timeout === undefined ? gate.terms.timeoutMillis : Duration.toMillis(operation.timeout)
        const left = Deadline.leftOf(fiber)
        if (left !== undefined && Duration.toMillis(left) <= millis) {
          const needs = Duration.millis(millis)
          return refuse(gate, operation, "deadline", fiber, () => new DeadlineTooShort({ needs, left }))
        }
        if (gate.isFull) {
          const { inFlightMax } = gate.terms
          return refuse(gate, operation, "bulkhead", fiber, () => new BulkheadFull({ inFlightMax }))
        }
        const entered = gate.admit(fiber)
        if ("state" in entered) {
          const retryAfter = Duration.millis(entered.retryAfterMillis)
          return refuse(
            gate,
            operation,
            entered.state,
            fiber,
            () => new CircuitOpen({ state: entered.state, retryAfter })
          )
        }
        admission = entered
        if (gate.terms.endedBy === "client") return effect
        return timed(effect, millis, fiber, () => {
          settle(failure)
          const timeout = Duration.millis(millis)
          return errorOf(gate.dependency.name, operation.name, () => new CallTimedOut({ timeout }))
        })
      })
      return Effect.onExit(
        Effect.catchCause(call, (cause) => through(gate, cause, fiber)),
        (exit) => {
          if (admission !== undefined) {
            let outcome: Outcome = ignored
            try {
              outcome = outcomeOf(operation, exit)
            } finally {
              settle(outcome) // Also when the classifier throws: its defect surfaces, and the slot is free.
            }
          }
          return Effect.void
        }
      )
    })

  /** What the fallback knows, if it is young enough. Its own failure is counted, and told to nobody. */
  const known = <A, E, E2, R2>(
    operation: AdvisoryRead<E>,
    fallback: Effect.Effect<Known<A>, E2, R2>
  ): Effect.Effect<Option.Option<Stale<A>>, never, R2> =>
    Effect.withFiber((fiber) => {
      const { maxAge } = operation
      const { signals } = gateOf(operation.dependency, fiber)
      return fallback.pipe(
        Deadline.within(operation.fallbackTimeout),
        Effect.timeout(operation.fallbackTimeout),
        Effect.matchCause({
          onSuccess: ({ age, value }) => {
            const isYoung = Duration.isLessThanOrEqualTo(age, maxAge)
            signals.fellBack(isYoung ? "served" : "too-old")(fiber.context)
            return isYoung ? Option.some<Stale<A>>({ _tag: "Stale", value, age, maxAge }) : Option.none()
          },
          onFailure: () => {
            signals.fellBack("failed")(fiber.context)
            return Option.none()
          }
        })
      )
    })

  const advised = <A, E, R, E2, R2>(
    operation: AdvisoryRead<E>,
    effect: Effect.Effect<A, E, R>,
    fallback: Effect.Effect<Known<A>, E2, R2>
  ): Effect.Effect<Fresh<A> | Stale<A>, E | BreakerError, R | R2> => {
    const { patience } = operation
    const otherwise = (call: Effect.Effect<Fresh<A> | Stale<A>, E | BreakerError, R | R2>) =>
      Effect.flatMap(known(operation, fallback), (stale) => (Option.isSome(stale) ? Effect.succeed(stale.value) : call))
    const covered = (call: Effect.Effect<A, E | BreakerError, R>) =>
      Effect.matchCauseEffect(call, {
        onSuccess: (value) => Effect.succeed<Fresh<A> | Stale<A>>({ _tag: "Fresh", value }),
        onFailure: (cause) =>
          outcomeOf(operation, Exit.failCause(cause), true)._tag === "Failure"
            ? otherwise(Effect.failCause(cause))
            : Effect.failCause(cause)
      })
    if (patience === undefined) return covered(guarded(operation, effect))
    return Effect.withFiber((fiber) => {
      const call = Effect.runForkWith(fiber.context as Context.Context<R>)(guarded(operation, effect))
      return Effect.timeoutOption(Fiber.await(call), patience).pipe(
        // Who has nothing to show waits on; who has leaves the call to its end.
        Effect.flatMap((exit) => (Option.isSome(exit) ? covered(exit.value) : otherwise(covered(Fiber.join(call))))),
        Effect.onInterrupt(() => Fiber.interrupt(call))
      )
    })
  }

  /** Past the types: whoever brings one more argument, or an operation that has a fallback, is told before the call. */
  const loud = <A, E, R>(operation: Operation<E>, effect: Effect.Effect<A, E, R>, more: ReadonlyArray<unknown>) =>
    more.length > 0 || "fallback" in operation || operation._tag === "AdvisoryRead"
      ? Effect.die(new TypeError(`${operation.dependency.name}.${operation.name} may not have a fallback`))
      : guarded(operation, effect)

  function read<A, E, R>(
    operation: AuthoritativeRead<E>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | BreakerError, R>
  function read<A, E, R, E2, R2>(
    operation: AdvisoryRead<E>,
    effect: Effect.Effect<A, E, R>,
    fallback: Effect.Effect<Known<A>, E2, R2>
  ): Effect.Effect<Fresh<A> | Stale<A>, E | BreakerError, R | R2>
  function read<A, E, R, E2, R2>(
    operation: AuthoritativeRead<E> | AdvisoryRead<E>,
    effect: Effect.Effect<A, E, R>,
    ...more: ReadonlyArray<Effect.Effect<Known<A>, E2, R2>>
  ): Effect.Effect<A | Fresh<A> | Stale<A>, E | BreakerError, R | R2> {
    const [fallback] = more
    return operation._tag === "AdvisoryRead" &&
      AdvisoryRead.is(operation) &&
      fallback !== undefined &&
      more.length === 1
      ? advised(operation, effect, fallback)
      : loud(operation, effect, more)
  }

  return {
    write: (operation, effect, ...more: ReadonlyArray<unknown>) => loud(operation, effect, more),
    read,
    permits: (dependency) => Effect.withFiber((fiber) => Effect.succeed(gateOf(dependency, fiber).permit(fiber)))
  }
}

const ignored: Outcome = { _tag: "Ignored" }
const failure: Outcome = { _tag: "Failure" }

/**
 * Interruption shows nothing, and neither does what failed behind a breaker further down: it has counted there.
 * For the caller in front of it all of that is a failure, for which `covered` asks.
 */
const outcomeOf = <E>(
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

/** A failure on its way out learns that it came through here. */
const through = <E>(gate: Gate, cause: Cause.Cause<E>, fiber: AnyFiber): Effect.Effect<never, E | BreakerError> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause)
  const { name } = gate.dependency
  const spoken = breakerErrorOf(cause)
  if (spoken === undefined) {
    const below = pathOf(cause)
    const path = [name, ...below] as const
    gate.note(below)
    noteOnSpan(fiber, "breaker.failed", { dependency: path.at(-1), path: path.join(" > ") })
    return Effect.failCause(Cause.annotate(cause, Context.make(FailedThrough, path), { overwrite: true }))
  }
  if (spoken.path[0] === name) return Effect.failCause(cause)
  gate.note(spoken.path)
  const { dependency, operation, path, reason } = spoken
  return Effect.fail(withoutStack(() => new BreakerError({ dependency, operation, path: [name, ...path], reason })))
}

const refuse = (
  gate: Gate,
  { name }: Operation<never>,
  reason: Refusal,
  fiber: AnyFiber,
  make: () => BreakerError["reason"]
): Effect.Effect<never, BreakerError> => {
  gate.signals.refused(reason)(fiber.context)
  noteOnSpan(fiber, "breaker.refused", { dependency: gate.dependency.name, operation: name, reason })
  return Effect.fail(errorOf(gate.dependency.name, name, make))
}

const errorOf = (dependency: string, operation: string, reason: () => BreakerError["reason"]): BreakerError =>
  withoutStack(() => new BreakerError({ dependency, operation, path: [dependency], reason: reason() }))

const withoutStack = <A>(make: () => A): A => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
