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
  record(mark: Mark, now: number): void
  counts(now: number): Counts
}

const bit = { success: 0, slow: 1, failure: 2 } as const

/** The last so many calls, a byte each. */
class LastCalls implements Window {
  readonly rule: CountRule
  readonly #ring: Uint8Array
  #place = 0
  #calls = 0
  #slow = 0
  #failures = 0

  constructor(rule: CountRule) {
    this.rule = rule
    this.#ring = new Uint8Array(rule.calls)
  }

  record(mark: Mark): void {
    const { calls } = this.rule
    if (this.#calls === calls) {
      const leaving = this.#ring[this.#place]
      if (leaving === bit.failure) this.#failures--
      else if (leaving === bit.slow) this.#slow--
    } else this.#calls++
    this.#ring[this.#place] = bit[mark]
    if (mark === "failure") this.#failures++
    else if (mark === "slow") this.#slow++
    this.#place = this.#place + 1 === calls ? 0 : this.#place + 1
  }

  counts(): Counts {
    return { calls: this.#calls, failures: this.#failures, slow: this.#slow }
  }
}

/** How finely a time window slides: a call counts for between nine tenths of it and all of it. */
const bucketsMax = 10

/** The calls of the last while, in buckets of a tenth of it. */
class LastWhile implements Window {
  readonly rule: TimeRule
  readonly #successes = buckets()
  /** Made when there is something to count: where all is well, never. */
  #slow: Array<number> | undefined
  #failures: Array<number> | undefined
  /** Of the newest bucket, in buckets since the clock began. */
  #age = -bucketsMax

  constructor(rule: TimeRule) {
    this.rule = rule
  }

  record(mark: Mark, now: number): void {
    this.#passTo(now)
    const place = this.#age % bucketsMax
    const counts = this.#of(mark)
    counts[place] = (counts[place] ?? 0) + 1
  }

  counts(now: number): Counts {
    const oldest = Math.max(0, this.#bucketOf(now) - bucketsMax + 1, this.#age - bucketsMax + 1)
    let [successes, slow, failures] = [0, 0, 0]
    for (let age = oldest; age <= this.#age; age++) {
      const place = age % bucketsMax
      successes += this.#successes[place] ?? 0
      slow += this.#slow?.[place] ?? 0
      failures += this.#failures?.[place] ?? 0
    }
    return { calls: successes + slow + failures, failures, slow }
  }

  #bucketOf(now: number): number {
    return Math.floor((now * bucketsMax) / this.rule.overMillis)
  }

  #of(mark: Mark): Array<number> {
    if (mark === "success") return this.#successes
    return mark === "slow" ? (this.#slow ??= buckets()) : (this.#failures ??= buckets())
  }

  /** Empties the buckets that time has passed over since the newest. */
  #passTo(now: number): void {
    const current = this.#bucketOf(now)
    if (current === this.#age) return
    for (let passed = Math.max(0, this.#age + 1, current - bucketsMax + 1); passed <= current; passed++) {
      const place = passed % bucketsMax
      this.#successes[place] = 0
      if (this.#slow !== undefined) this.#slow[place] = 0
      if (this.#failures !== undefined) this.#failures[place] = 0
    }
    this.#age = current
  }
}

const buckets = (): Array<number> => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]

export class Tally {
  readonly #rules: ReadonlyArray<Rule>
  /** Made when the first call is counted: most tallies of a fleet that is well see none for long. */
  #windows: ReadonlyArray<Window> | undefined
  #failuresInRow = 0

  constructor(rules: ReadonlyArray<Rule>) {
    this.#rules = rules
  }

  get failuresInRow(): number {
    return this.#failuresInRow
  }

  /**
   * Adds a call, and says in words why the circuit should open, if it should. `share` is how much of the usual
   * evidence is enough, in (0, 1]: counts are multiplied by it and rounded up, rates stay.
   */
  record(mark: Mark, now: number, share: number): string | undefined {
    this.#windows ??= windowsOf(this.#rules)
    for (const window of this.#windows) window.record(mark, now)
    if (mark === "failure") this.#failuresInRow++
    else this.#failuresInRow = 0
    if (mark === "success") return undefined // Nothing trips on good news.
    if (this.#failuresInRow >= Math.ceil(consecutive(this.#rules) * share)) {
      return `${this.#failuresInRow} failures in a row`
    }
    for (const window of this.#windows) {
      const why = exceeded(window.counts(now), window.rule, share)
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Of the first window there is; undefined without one, or before it has seen a call. */
  rates(now: number): { readonly failureRate: number; readonly slowRate: number } | undefined {
    const counts = this.#windows?.[0]?.counts(now)
    return counts === undefined || counts.calls === 0
      ? undefined
      : { failureRate: counts.failures / counts.calls, slowRate: counts.slow / counts.calls }
  }
}

const windowsOf = (rules: ReadonlyArray<Rule>): ReadonlyArray<Window> =>
  rules
    .filter((rule) => rule._tag !== "Consecutive")
    .map((rule) => (rule._tag === "CountWindow" ? new LastCalls(rule) : new LastWhile(rule)))

/** Failures in a row that are too many by any rule. */
const consecutive = (rules: ReadonlyArray<Rule>): number =>
  Math.min(...rules.map((rule) => (rule._tag === "Consecutive" ? rule.failures : Number.POSITIVE_INFINITY)))

const exceeded = ({ calls, failures, slow }: Counts, rule: Rates, share: number): string | undefined => {
  if (calls < Math.ceil(rule.callsMin * share)) return undefined
  if (failures >= calls * rule.failureRate) return `${failures} of ${calls} calls failed`
  // A failure is no answer at all, so it is not quick either.
  if (failures + slow >= calls * rule.slowRate) return `${failures + slow} of ${calls} calls were slow or failed`
  return undefined
}
