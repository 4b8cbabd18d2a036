/**
 * What the calls of one generation came to, as its trips see it. Written in place, since it is on the way of
 * every call: it belongs to one closed or ramping state and to nobody else. No timer: a bucket that is too old
 * is emptied when its place is needed again, and not counted before.
 */

/** A trip whose times are milliseconds. */
export type Rule = ConsecutiveRule | CountRule | TimeRule

export interface ConsecutiveRule {
  readonly _tag: "Consecutive"
  readonly failures: number
}

interface Rates {
  readonly callsMin: number
  /** Above 1 where it does not matter. */
  readonly failureRate: number
  readonly slowRate: number
}

export interface CountRule extends Rates {
  readonly _tag: "CountWindow"
  readonly calls: number
}

export interface TimeRule extends Rates {
  readonly _tag: "TimeWindow"
  readonly overMillis: number
}

/** What one call adds. */
export type Mark = "success" | "slow" | "failure"

/** Counts over a window. */
export interface Counts {
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

interface Window {
  readonly rule: CountRule | TimeRule
  readonly record: (mark: Mark, now: number) => void
  readonly counts: (now: number) => Counts
}

const bit = { success: 0, slow: 1, failure: 2 } as const

/** The last so many calls, a byte each. */
const countWindow = (rule: CountRule): Window => {
  const ring = new Uint8Array(rule.calls)
  let place = 0
  let calls = 0
  let slow = 0
  let failures = 0
  return {
    rule,
    record: (mark) => {
      if (calls === rule.calls) {
        const leaving = ring[place]
        if (leaving === bit.failure) failures--
        else if (leaving === bit.slow) slow--
      } else calls++
      ring[place] = bit[mark]
      if (mark === "failure") failures++
      else if (mark === "slow") slow++
      place = place + 1 === rule.calls ? 0 : place + 1
    },
    counts: () => ({ calls, failures, slow })
  }
}

/** How finely a time window slides: a call counts for between nine tenths of it and all of it. */
const bucketsMax = 10

/** The calls of the last while, in buckets of a tenth of it. */
const timeWindow = (rule: TimeRule): Window => {
  const width = rule.overMillis / bucketsMax
  const ages = new Float64Array(bucketsMax).fill(Number.NEGATIVE_INFINITY)
  const counts = new Uint32Array(bucketsMax * 3)
  return {
    rule,
    record: (mark, now) => {
      const age = Math.floor(now / width)
      const place = age % bucketsMax
      if (ages[place] !== age) {
        ages[place] = age
        counts.fill(0, place * 3, place * 3 + 3)
      }
      const at = place * 3 + bit[mark]
      counts[at] = (counts[at] ?? 0) + 1
    },
    counts: (now) => {
      const oldest = Math.floor(now / width) - bucketsMax
      const sums = [0, 0, 0]
      for (let place = 0; place < bucketsMax; place++) {
        if ((ages[place] ?? oldest) <= oldest) continue
        for (let kind = 0; kind < 3; kind++) sums[kind] = (sums[kind] ?? 0) + (counts[place * 3 + kind] ?? 0)
      }
      const [successes = 0, slow = 0, failures = 0] = sums
      return { calls: successes + slow + failures, failures, slow }
    }
  }
}

export class Tally {
  readonly #windows: ReadonlyArray<Window>
  readonly #consecutive: number
  #failuresInRow = 0

  constructor(rules: ReadonlyArray<Rule>) {
    this.#consecutive = Math.min(
      ...rules.map((rule) => (rule._tag === "Consecutive" ? rule.failures : Number.POSITIVE_INFINITY))
    )
    this.#windows = rules.flatMap((rule) =>
      rule._tag === "CountWindow" ? [countWindow(rule)] : rule._tag === "TimeWindow" ? [timeWindow(rule)] : []
    )
  }

  get failuresInRow(): number {
    return this.#failuresInRow
  }

  /**
   * Adds a call, and says in words why the circuit should open, if it should. `share` is how much of the usual
   * evidence is enough, in (0, 1]: counts are multiplied by it and rounded up, rates stay.
   */
  record(mark: Mark, now: number, share: number): string | undefined {
    for (const window of this.#windows) window.record(mark, now)
    if (mark === "failure") this.#failuresInRow++
    else this.#failuresInRow = 0
    if (mark === "success") return undefined // Nothing trips on good news.
    if (this.#failuresInRow >= Math.ceil(this.#consecutive * share)) return `${this.#failuresInRow} failures in a row`
    for (const { counts, rule } of this.#windows) {
      const why = exceeded(counts(now), rule, share)
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Of the first window there is; undefined without one, or before it has seen a call. */
  rates(now: number): { readonly failureRate: number; readonly slowRate: number } | undefined {
    const counts = this.#windows[0]?.counts(now)
    return counts === undefined || counts.calls === 0
      ? undefined
      : { failureRate: counts.failures / counts.calls, slowRate: counts.slow / counts.calls }
  }
}

const exceeded = ({ calls, failures, slow }: Counts, rule: Rates, share: number): string | undefined => {
  if (calls < Math.ceil(rule.callsMin * share)) return undefined
  if (failures >= calls * rule.failureRate) return `${failures} of ${calls} calls failed`
  // A failure is no answer at all, so it is not quick either.
  if (failures + slow >= calls * rule.slowRate) return `${failures + slow} of ${calls} calls were slow or failed`
  return undefined
}
