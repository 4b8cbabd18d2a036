/**
 * What a worker does with a command it has claimed, and with what came of it. Pure: the rules that keep
 * money from moving twice are all here.
 *
 * - Unknown never becomes failed or succeeded by time: it is looked up, sent again under the same key, or
 *   laid before a person.
 * - Nothing is sent again once the provider may have forgotten our key.
 */
import { Duration, Option } from "effect"

import { type Backoff, delay } from "./Backoff.ts"
import type { Ack, AttemptClass, Lease } from "./Outbox.ts"
import type { PspError } from "./Psp.ts"

/** - `LookUp`: an earlier send may have been executed; ask before sending. - `GiveUp`: to a person. */
export type Begin =
  | { readonly _tag: "Send" }
  | { readonly _tag: "LookUp" }
  | { readonly _tag: "GiveUp"; readonly ack: Ack }

const bury = (kind: AttemptClass, error: string): Ack => ({ _tag: "Bury", class: kind, error })

/** Attempts are counted when claimed, so a command that kills its worker ends here too. */
export const begin = (lease: Lease, attemptsMax: number): Begin => {
  if (lease.attempts > attemptsMax) {
    return { _tag: "GiveUp", ack: bury(lease.uncertain ? "unknown" : "not_sent", "attempts are spent") }
  }
  return lease.uncertain ? { _tag: "LookUp" } : { _tag: "Send" }
}

/** The provider knows nothing of the key. That proves nothing: a send of ours may still be on its way. */
export const notFound = (lease: Lease): Begin =>
  lease.sendable
    ? { _tag: "Send" }
    : { _tag: "GiveUp", ack: bury("unknown", "the provider does not know the payment and no longer dedupes our key") }

/** What becomes of a command after an attempt that settled nothing. `chance` in [0, 1). */
export const after = (
  lease: Lease,
  reason: Exclude<PspError["reason"], { readonly _tag: "Declined" }>,
  limits: Backoff & { readonly attemptsMax: number },
  chance: number
): Ack => {
  const again = (kind: AttemptClass, retryAfter: Option.Option<Duration.Duration>): Ack =>
    lease.attempts >= limits.attemptsMax
      ? bury(kind, reason.message)
      : { _tag: "Retry", class: kind, error: reason.message, delay: delay(limits, lease.attempts, chance, retryAfter) }
  switch (reason._tag) {
    case "NotSent":
      return again("not_sent", Option.none())
    case "Busy":
      return again("busy", reason.retryAfter)
    case "Unknown":
      return again("unknown", Option.none())
    case "Invalid":
      return bury("invalid", `${reason.code}: ${reason.message}`)
  }
}

/** The breaker refused: nothing was sent, the attempt does not count. Up to a base of jitter, so that parked commands spread. */
export const parked = (retryAfter: Duration.Duration, base: Duration.Duration, chance: number): Ack => ({
  _tag: "Park",
  delay: Duration.sum(retryAfter, Duration.times(base, chance))
})
