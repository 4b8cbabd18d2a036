/**
 * The requests that are being answered: how many there may be, and until when each may take. One timer looks
 * at all of them, because a timeout for each would cost more than the whole of a short route.
 */
import { Cause, Clock, Context, Duration, Effect, Metric, Schedule } from "effect"
import type { Fiber, Scope } from "effect"

/** Marks the interruption of a route that took too long, so that it is told from a client that left. */
export class Overdue extends Context.Service<Overdue, true>()("cribwork/http/InFlight/Overdue") {
  static annotation = this.context(true)
}

/** How much later than its deadline a route may be noticed, at most. */
const sweepEvery = Duration.millis(50)

export interface Flight {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly deadlineNanos: bigint
  readonly startedNanos: bigint
}

export class InFlight {
  readonly max: number
  readonly #flights = new Set<Flight>()

  constructor(max: number) {
    this.max = max
  }

  get count(): number {
    return this.#flights.size
  }

  get isFull(): boolean {
    return this.#flights.size >= this.max
  }

  enter(fiber: Fiber.Fiber<unknown, unknown>, startedNanos: bigint, budgetNanos: bigint): Flight {
    const flight = { fiber, startedNanos, deadlineNanos: startedNanos + budgetNanos }
    this.#flights.add(flight)
    return flight
  }

  leave(flight: Flight): void {
    this.#flights.delete(flight)
  }

  overdue(nowNanos: bigint): ReadonlyArray<Flight> {
    return [...this.#flights].filter(({ deadlineNanos }) => deadlineNanos <= nowNanos)
  }
}

const inFlightNow = Metric.gauge("cribwork_http_requests_in_flight", {
  description: "Requests being answered at the moment."
})

/** Ends routes that are past their deadline, until the scope closes. */
export const watch = (inFlight: InFlight): Effect.Effect<void, never, Scope.Scope> =>
  Effect.withFiber<void, never, never>((fiber) => {
    const now = fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()
    inFlightNow.updateUnsafe(inFlight.count, fiber.context)
    for (const flight of inFlight.overdue(now)) flight.fiber.interruptUnsafe(undefined, Overdue.annotation)
    return Effect.void
  }).pipe(Effect.repeat(Schedule.spaced(sweepEvery)), Effect.forkScoped, Effect.asVoid)

export const isOverdue = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isInterruptReason(reason) && reason.annotations.has(Overdue.key))
