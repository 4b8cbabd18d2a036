/**
 * Until when the work of a fiber is of use to whoever asked for it. Set by the server for each request and by
 * workers for each job, inherited by child fibers, narrowed on the way in and never extended. It stops nothing
 * by itself: those who set it interrupt what is late, and a breaker refuses a call that cannot end in time.
 */
import { Clock, Context, Duration, Effect } from "effect"
import type { Fiber } from "effect"

/** An instant of `Clock.monotonicTimeNanos`; undefined where nobody waits. Read it through `left`. */
export const CurrentDeadline = Context.Reference<bigint | undefined>("cribwork/Deadline/CurrentDeadline", {
  defaultValue: () => undefined
})

/** Runs an effect that has `budget` at most: less, if its caller has less. */
export const within =
  (budget: Duration.Input) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => {
      const now = fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()
      const until = now + nanosOf(Duration.fromInputUnsafe(budget))
      const current = fiber.getRef(CurrentDeadline)
      return current !== undefined && current <= until ? effect : Effect.provideService(effect, CurrentDeadline, until)
    })

/** Runs an effect for which nobody waits: what must be written down, however late it is. */
export const lifted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, CurrentDeadline, undefined)

/** What is left, never negative; undefined where nobody waits. */
export const left: Effect.Effect<Duration.Duration | undefined> = Effect.withFiber((fiber) => {
  const millis = leftMillisOf(fiber)
  return Effect.succeed(millis === undefined ? undefined : Duration.millis(millis))
})

/** The same as a number, for hot paths that hold their fiber already. */
export const leftMillisOf = (fiber: Fiber.Fiber<unknown, unknown>): number | undefined => {
  const until = fiber.getRef(CurrentDeadline)
  if (until === undefined) return undefined
  const nanos = until - fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()
  return nanos > 0n ? Number(nanos) / 1_000_000 : 0
}

/** The context of a fiber with `millis` left, for hot paths that hold it already and know that there is no less. */
export const inMillis = (fiber: Fiber.Fiber<unknown, unknown>, millis: number): Context.Context<never> =>
  Context.add(
    fiber.context,
    CurrentDeadline,
    fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe() + BigInt(Math.round(millis * 1_000_000))
  )

/**
 * How a deadline travels between our own services: as the whole milliseconds that are left, since two machines
 * do not agree on the time (gRPC's `grpc-timeout` does the same). Each hop takes the lesser of what it is told
 * and what it would allow.
 */
export const header = "x-cribwork-deadline-ms"

/** Longest that is believed. */
const headerMax = Duration.hours(1)

/** Rounded down: nobody is told more time than there is. */
export const toHeader = (left: Duration.Duration): string => String(Math.floor(Duration.toMillis(left)))

/** Undefined for what no service of ours would send. */
export const fromHeader = (text: string): Duration.Duration | undefined => {
  if (!/^\d{1,7}$/.test(text)) return undefined
  const told = Duration.millis(Number(text))
  return Duration.isLessThanOrEqualTo(told, headerMax) ? told : undefined
}

const nanosOf = (duration: Duration.Duration): bigint => BigInt(Math.round(Duration.toMillis(duration) * 1e6))
