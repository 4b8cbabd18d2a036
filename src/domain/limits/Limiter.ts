/** The question every request asks before any work is done for it: is there quota left? */
import { Context, Duration, Schema } from "effect"
import type { Array, Effect } from "effect"

import { PolicyName } from "./Policy.ts"
import type { Policy } from "./Policy.ts"

/** Most units one ask may cost: a store writes one entry a unit, and nobody else is served meanwhile. */
export const costMax = 10_000

/** Letters, digits and `._~-`: it stands in a store, a header and a log as it is. */
export const DecisionId = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._~-]{1,64}$/)).pipe(
  Schema.brand("cribwork/limits/DecisionId")
)
export type DecisionId = typeof DecisionId.Type

/**
 * One key under one policy. Segments go from the widest to the narrowest (tenant, user, route), may hold any
 * text, and are compared whole: `["a", "b"]` and `["a:b"]` are two keys.
 */
export interface AskKey {
  readonly policy: Policy
  readonly key: Array.NonEmptyReadonlyArray<string>
}

/**
 * May `cost` units be spent under all of these keys at once? The keys are a set: a policy and key that is
 * named twice is charged once.
 */
export interface Ask {
  readonly keys: Array.NonEmptyReadonlyArray<AskKey>
  readonly cost: number
  /**
   * Names this one decision, so that asking again after a lost answer charges nothing more while its units
   * still count. It is the caller's to choose well: two asks under one id and one key are one decision. Left
   * out, the limiter makes one that no other instance makes.
   */
  readonly id?: DecisionId | undefined
}

/** What was granted, to be given back. Its keys and its id say which units are meant, so nobody else's can be. */
export interface Spent extends Ask {
  readonly id: DecisionId
}

/**
 * Who decided: this process alone (`memory`); Redis; this process in place of a Redis that does not answer
 * (`shadow`); this process from a denial of Redis that still holds (`denied-cache`); this process from units
 * that Redis lent it (`lease`).
 */
export const Source = Schema.Literals(["memory", "redis", "shadow", "denied-cache", "lease"])
export type Source = typeof Source.Type

/** What is left under one key. A class, because its duration is only made for those who look. */
export class Quota {
  readonly policy: Policy
  /** Units that fit now; never negative. */
  readonly remaining: number
  readonly #resetMicros: number

  constructor(policy: Policy, remaining: number, resetMicros: number) {
    this.policy = policy
    this.remaining = remaining
    this.#resetMicros = resetMicros
  }

  /** How long until the oldest unit leaves its window: `remaining` cannot rise before. Zero for an idle key. */
  get resetAfter(): Duration.Duration {
    return fromMicros(this.#resetMicros)
  }
}

/** Yes. One quota a key, in the order of the ask. */
export interface Grant {
  /** The ask's own id, or the one it was given. */
  readonly id: DecisionId
  readonly quotas: ReadonlyArray<Quota>
  readonly source: Source
}

/**
 * No: these policies had no room, and nothing was charged. With no other traffic the same ask passes after
 * `retryAfter`, and not a millisecond earlier.
 */
export class RateLimited extends Schema.TaggedError<RateLimited>()("RateLimited", {
  violated: Schema.NonEmptyArray(PolicyName),
  retryAfter: Schema.Duration,
  source: Source
}) {}

/** Don't know: whoever keeps the counts did not answer in time, and nobody may guess. */
export class CannotDecide extends Schema.TaggedError<CannotDecide>()("CannotDecide", { cause: Schema.Defect() }) {}

/** Never: `limit` is the most that one ask may cost under this policy (see `costLimit`). */
export class CostAboveLimit extends Schema.TaggedError<CostAboveLimit>()("CostAboveLimit", {
  policy: PolicyName,
  cost: Schema.Int,
  limit: Schema.Int
}) {}

/** Never: a cost is a whole number of units, at least one. Taking nothing is `peek`. */
export class CostNotCountable extends Schema.TaggedError<CostNotCountable>()("CostNotCountable", {
  // @effect-diagnostics-next-line schemaNumber:off
  cost: Schema.Number
}) {}

export class LimiterError extends Schema.TaggedError<LimiterError>()("LimiterError", {
  reason: Schema.Union([RateLimited, CannotDecide, CostAboveLimit, CostNotCountable])
}) {}

/**
 * Sliding-window quotas under composite keys.
 *
 * - In any window of a policy at most `limit` units are admitted under one key, wherever the window is laid.
 * - All keys of an ask are charged, or none is; whoever is refused pays nothing.
 * - A refusal is true: every key it names had no room.
 * - Under one id an ask is charged once, however often it is asked while its units count.
 * - A policy that only observes is charged where it has room, and refuses nobody.
 * - An impossible cost is refused without asking anybody.
 */
export class Limiter extends Context.Service<
  Limiter,
  {
    /** Charges `cost` under every key, or says when to come back. */
    readonly take: (ask: Ask) => Effect.Effect<Grant, LimiterError>
    /** What `take` would answer now, charging nothing: `remaining` is what is there before the ask. */
    readonly peek: (ask: Ask) => Effect.Effect<Grant, LimiterError>
    /**
     * Gives back what a grant charged, under all of its keys or none, and says how many units a key that was:
     * zero when they had left their window or were given back before. A later ask of the same id is a new one.
     */
    readonly refund: (spent: Spent) => Effect.Effect<number, LimiterError>
    /** Forgets every unit counted under these keys. */
    readonly reset: (keys: Ask["keys"]) => Effect.Effect<void, LimiterError>
  }
>()("cribwork/limits/Limiter") {}

/** The most that one ask may cost under a policy: what it says, its limit, and never more than `costMax`. */
export const costLimit = (policy: Policy): number => Math.min(policy.limit, policy.costMax ?? costMax, costMax)

/** Exact, where milliseconds as a fraction would be rounded. */
export const fromMicros = (micros: number): Duration.Duration =>
  micros % 1000 === 0 ? Duration.millis(micros / 1000) : Duration.micros(BigInt(micros))

/** Why an ask can be answered without looking at any count; undefined when it cannot. */
export const impossible = ({ keys, cost }: Ask): LimiterError | undefined => {
  if (!Number.isSafeInteger(cost) || cost < 1) return new LimiterError({ reason: new CostNotCountable({ cost }) })
  for (const { policy } of keys) {
    const limit = costLimit(policy)
    if (cost > limit) return new LimiterError({ reason: new CostAboveLimit({ policy: policy.name, cost, limit }) })
  }
  return undefined
}
