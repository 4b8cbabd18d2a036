/**
 * What callers see of the gates of this process. Written for the call that succeeds while closed: no
 * generator, no span, and nothing read but the time.
 */
import { Duration, Effect, Exit, Fiber, Option } from "effect"
import type { Context } from "effect"

import type { Breaker, BreakerError, Fresh, Known, Stale } from "../../domain/breakers/Breaker.ts"
import { AdvisoryRead } from "../../domain/breakers/Dependency.ts"
import type { AuthoritativeRead, Dependency } from "../../domain/breakers/Dependency.ts"
import * as Deadline from "../../domain/Deadline.ts"
import type { Deadlines } from "../platform/Deadlines.ts"
import { Call, type Operation, outcomeOf } from "./Call.ts"
import type { Gate } from "./Gate.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export const make = (
  gateOf: (dependency: Dependency, fiber: AnyFiber) => Gate,
  deadlines: Deadlines
): Breaker["Service"] => {
  /** Run in a fiber of its own, which can be interrupted when its time is over; whoever is first settles it. */
  const timed = <A, E, R>(
    call: Call<E>,
    effect: Effect.Effect<A, E, R>,
    fiber: AnyFiber
  ): Effect.Effect<A, E | BreakerError, R> =>
    Effect.callback((resume) => {
      const refused = call.enter()
      if (refused !== undefined) return resume(Effect.fail(refused))
      const left = (exit: Exit.Exit<A, E>) => {
        const told = Exit.isSuccess(exit) ? exit : Exit.failCause(call.through(exit.cause))
        try {
          call.leave(told)
          resume(told)
        } catch (defect) {
          resume(Effect.die(defect))
        }
      }
      // What is called from here has less time than that, or hides behind this call's timeout.
      const context = Deadline.inMillis(fiber, call.timeoutMillis) as Context.Context<R>
      const child = Effect.runForkWith(context)(effect)
      const done = child.pollUnsafe()
      if (done !== undefined) return left(done)
      const wait = deadlines.start(call.timeoutMillis, () => {
        resume(Effect.fail(call.expire()))
        child.interruptUnsafe()
      })
      child.addObserver((exit) => {
        wait.end()
        left(exit)
      })
      return Effect.suspend(() => {
        call.abandon()
        return Fiber.interrupt(child)
      })
    })

  const guarded = <A, E, R>(
    operation: Operation<E>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | BreakerError, R> =>
    Effect.withFiber((fiber) => {
      const gate = gateOf(operation.dependency, fiber)
      const call = new Call(gate, operation, fiber)
      return gate.terms.endedBy === "client" ? ended(call, effect) : timed(call, effect, fiber)
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
            signals.fellBack(isYoung ? "served" : "too-old")
            return isYoung ? Option.some<Stale<A>>({ _tag: "Stale", value, age, maxAge }) : Option.none()
          },
          onFailure: () => {
            signals.fellBack("failed")
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
    permits: (dependency) => Effect.withFiber((fiber) => Effect.succeed(gateOf(dependency, fiber).permit()))
  }
}

/**
 * Ended by its client, whatever happens. Let in only inside of what settles it: a fiber can be interrupted
 * between any two of its steps.
 */
const ended = <A, E, R>(call: Call<E>, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | BreakerError, R> =>
  Effect.onExit(
    Effect.catchCause(
      Effect.withFiber<A, E | BreakerError, R>(() => {
        const refused = call.enter()
        return refused === undefined ? effect : Effect.fail(refused)
      }),
      (cause) => Effect.failCause(call.through(cause))
    ),
    (exit) => {
      call.leave(exit)
      return Effect.void
    }
  )
