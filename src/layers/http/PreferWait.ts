/**
 * How long a client wants its answer held back: `Prefer: wait=N` (RFC 7240, section 4.3), in seconds. Of use only
 * while the client still listens, so that a wait ends a little before its deadline.
 */
import { Duration, Effect } from "effect"

import * as Deadline from "../../domain/Deadline.ts"

/** To write down that the wait is over, and to have it read. */
const lastWords = Duration.millis(250)

/** No more than `max`. What is no number is no preference. */
export const preferWait = (prefer: string | undefined, max: Duration.Duration): Duration.Duration => {
  const seconds = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(prefer ?? "")?.[1]
  return seconds === undefined ? Duration.zero : Duration.min(Duration.seconds(Number(seconds)), max)
}

/** What of a wait fits before the deadline at hand. */
export const fitting = (wait: Duration.Duration): Effect.Effect<Duration.Duration> =>
  Duration.isZero(wait)
    ? Effect.succeed(wait)
    : Effect.map(Deadline.left, (left) =>
        left === undefined ? wait : Duration.min(wait, Duration.max(Duration.zero, Duration.subtract(left, lastWords)))
      )
