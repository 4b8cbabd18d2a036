/**
 * The sliding window itself, as a log of admissions: the truth that every `Limiter` is held to by property
 * tests. Exact where two counters or a token bucket only come close, at the price of remembering each unit.
 *
 * All times are whole microseconds on one clock that never steps back. A window ends at the instant it is
 * asked about and includes it: an admission at `t` counts in `[t, t + window)` and no longer.
 */

/** One admission a unit of cost, oldest first. */
export type Log = ReadonlyArray<number>

/** What a policy says about one key. */
export interface Rule {
  readonly limit: number
  readonly window: number
}

export const empty: Log = []

/** What still counts at `now`. */
export const live = (log: Log, window: number, now: number): Log => log.filter((at) => at > now - window)

/** How many units fit at `now`; never negative, not even after a limit was lowered. */
export const remaining = (log: Log, rule: Rule, now: number): number =>
  Math.max(0, rule.limit - live(log, rule.window, now).length)

/** How long until the oldest unit leaves. Until then `remaining` cannot rise. Zero for an idle key. */
export const resetAfter = (log: Log, rule: Rule, now: number): number => {
  const oldest = live(log, rule.window, now)[0]
  return oldest === undefined ? 0 : oldest + rule.window - now
}

/**
 * How long until `cost` units fit if nothing else is admitted: not a microsecond earlier. Zero if they fit
 * now, infinite if they never will.
 */
export const retryAfter = (log: Log, rule: Rule, cost: number, now: number): number => {
  const counted = live(log, rule.window, now)
  const excess = counted.length + cost - rule.limit
  if (excess <= 0) return 0
  const leaving = counted[excess - 1]
  return leaving === undefined ? Number.POSITIVE_INFINITY : leaving + rule.window - now
}

export type Verdict =
  | { readonly _tag: "Admitted"; readonly logs: ReadonlyArray<Log> }
  | { readonly _tag: "Denied"; readonly violated: ReadonlyArray<number>; readonly retryAfter: number }

/**
 * Charges all keys or none. A denial returns no logs: whoever is refused pays nothing. `violated` are the
 * places of every key without room, and `retryAfter` is when the last of them has some.
 */
export const take = (
  keys: ReadonlyArray<{ readonly log: Log; readonly rule: Rule }>,
  cost: number,
  now: number
): Verdict => {
  const waits = keys.map(({ log, rule }) => retryAfter(log, rule, cost, now))
  const violated = waits.flatMap((wait, place) => (wait > 0 ? [place] : []))
  if (violated.length > 0) return { _tag: "Denied", violated, retryAfter: Math.max(...waits) }
  const charge = Array.from({ length: cost }, () => now)
  return { _tag: "Admitted", logs: keys.map(({ log, rule }) => [...live(log, rule.window, now), ...charge]) }
}
