/** What is limited, how much of it, and in how long a window. */
import { Duration, Effect, Schema } from "effect"

/** Most units one window may hold. An exact log keeps an entry a decision: of cost 1, this is 24 MB a key. */
export const limitMax = 1_000_000

/** Shortest and longest window. A window below a millisecond would measure scheduling, not use. */
export const windowMin = Duration.millis(1)
export const windowMax = Duration.days(1)

/** Most units one process may borrow of a key at once. */
export const leaseMax = 10_000

/** Letters, digits and dashes, so that it stands in a key, a header and a label as it is. */
export const PolicyName = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,47}$/)).pipe(
  Schema.brand("cribwork/limits/PolicyName")
)
export type PolicyName = typeof PolicyName.Type

/** Whose use is counted. It says which segments a key of the policy has, from the widest to the narrowest. */
export const Scope = Schema.Literals(["tenant", "user", "route", "address"])
export type Scope = typeof Scope.Type

/**
 * What to do while nobody knows the counts, because their store does not answer.
 *
 * - `soft`: decide alone, within this process's share of the limit and what it knows of the others.
 * - `strict`: admit only what was reserved before; the limit holds whatever happens.
 * - `open`: admit.
 * - `closed`: admit nothing.
 */
export const Outage = Schema.Literals(["soft", "strict", "open", "closed"])
export type Outage = typeof Outage.Type

/**
 * In any window of length `window` at most `limit` units are admitted under one key.
 *
 * Counts belong to the name: two policies of one name share them under equal keys. Therefore a name keeps
 * its window for life, while its limit may change at any time and acts on the next decision.
 */
export class Policy extends Schema.Class<Policy>("cribwork/limits/Policy")({
  name: PolicyName,
  scope: Scope,
  limit: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: limitMax })),
  window: Schema.Duration.check(
    Schema.makeFilter((window) => Duration.between(window, { minimum: windowMin, maximum: windowMax }), {
      expected: `a duration from ${Duration.format(windowMin)} to ${Duration.format(windowMax)}`
    })
  ),
  /** The most that one ask may cost; left out, only the limit bounds it. */
  costMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: limitMax }))),
  /**
   * For keys that one process asks for by the dozen: it may borrow up to `units` for `ttl` and admit from them
   * without asking the store. A refusal then means no room beside what is borrowed.
   */
  lease: Schema.optionalKey(
    Schema.Struct({
      units: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: leaseMax })),
      ttl: Schema.Duration
    })
  ),
  outage: Outage.pipe(Schema.withConstructorDefault(Effect.succeed("soft" as const))),
  /** Decides and counts, and never refuses: for trying a limit on real traffic before it bites. */
  observe: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(false)))
}) {
  /** The window in whole microseconds, the unit in which decisions are made; kept since every request asks. */
  readonly windowMicros: number = Math.round(Duration.toMillis(this.window) * 1000)
}
