/**
 * How long a command waits before its next attempt: exponential with full jitter, so that commands that
 * failed together do not come back together (Brooker, "Exponential Backoff and Jitter", AWS, 2015).
 */
import { Duration, Option } from "effect"

export interface Backoff {
  readonly base: Duration.Duration
  readonly cap: Duration.Duration
}

/** The bound of the wait after attempt `attempts` (1 is the first): base, twice base, … never above the cap. */
export const ceiling = ({ base, cap }: Backoff, attempts: number): Duration.Duration =>
  Duration.min(cap, Duration.times(base, 2 ** Math.min(Math.max(attempts - 1, 0), 52)))

/**
 * The wait itself, for a `chance` in [0, 1): anywhere up to the bound. What the provider asked for is
 * honoured first, up to the cap, and the jitter comes on top, so that its hint is no herd either.
 */
export const delay = (
  backoff: Backoff,
  attempts: number,
  chance: number,
  retryAfter: Option.Option<Duration.Duration>
): Duration.Duration =>
  Option.match(retryAfter, {
    onNone: () => Duration.times(ceiling(backoff, attempts), chance),
    onSome: (hint) => Duration.sum(Duration.min(hint, backoff.cap), Duration.times(backoff.base, chance))
  })
