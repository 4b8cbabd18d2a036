/** What operators order of breakers, for all processes and across restarts. */
import { Context, DateTime, Duration, Schema } from "effect"
import type { Effect } from "effect"

/** An order lasts so long at most: one that was forgotten must not outlive the day. */
export const forcedMax = Duration.hours(24)

export interface Order {
  readonly dependency: string
  readonly to: "open" | "closed"
  readonly until: DateTime.Utc
  readonly reason: string
  /** A key's id or a person at a terminal, as in the audit log. */
  readonly by: string
}

export interface ForcedState extends Order {
  readonly at: DateTime.Utc
  /** What was left of it when it was read, by the clock of whoever keeps it: processes' own clocks differ. */
  readonly left: Duration.Duration
}

/** The breaker is given back to itself. */
export interface Lift {
  readonly dependency: string
  readonly reason: string
  readonly by: string
}

/** No: an order ends later than now, and at `latest` at the latest. */
export class UntilOutOfBounds extends Schema.TaggedError<UntilOutOfBounds>()("UntilOutOfBounds", {
  until: Schema.DateTimeUtc,
  now: Schema.DateTimeUtc,
  latest: Schema.DateTimeUtc
}) {}

/** Don't know: whoever keeps the orders did not answer. */
export class ForcesUnavailable extends Schema.TaggedError<ForcesUnavailable>()("ForcesUnavailable", {
  cause: Schema.Defect()
}) {}

/**
 * The orders that hold.
 *
 * - One a dependency: a new one takes the place of the one before.
 * - One that has come to its end holds no longer, without anybody doing anything.
 * - An order, or its lifting, and its entry in the audit log are kept together, or neither is.
 * - Reached without any breaker, or an order about the breaker on the way could not be lifted.
 */
export class ForcedStates extends Context.Service<
  ForcedStates,
  {
    /** By name of the dependency. */
    readonly active: Effect.Effect<ReadonlyArray<ForcedState>, ForcesUnavailable>
    readonly force: (order: Order) => Effect.Effect<ForcedState, UntilOutOfBounds | ForcesUnavailable>
    /** Answers what held until now; lifting where nothing holds changes nothing and leaves no entry. */
    readonly lift: (lift: Lift) => Effect.Effect<ForcedState | undefined, ForcesUnavailable>
  }
>()("cribwork/breakers/ForcedStates") {}

/** The rule of `UntilOutOfBounds`; undefined when it is kept. */
export const outOfBounds = (until: DateTime.Utc, now: DateTime.Utc): UntilOutOfBounds | undefined => {
  const latest = DateTime.addDuration(now, forcedMax)
  return DateTime.isGreaterThan(until, now) && DateTime.isLessThanOrEqualTo(until, latest)
    ? undefined
    : new UntilOutOfBounds({ until, now, latest })
}
