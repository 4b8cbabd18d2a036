/** The pure sliding window, kept for many keys: what any `Limiter` must have answered to a history of asks. */
import { assert } from "@effect/vitest"
import { Array as Arr, Duration, Schema } from "effect"
import type { Exit } from "effect"

import type { Ask, AskKey, Grant, LimiterError } from "../../src/domain/limits/Limiter.ts"
import { Policy, PolicyName } from "../../src/domain/limits/Policy.ts"
import * as SlidingWindow from "../../src/domain/limits/SlidingWindow.ts"

export const policy = (name: string, limit: number, windowMicros: number): Policy =>
  new Policy({ name: PolicyName.make(name), scope: "tenant", limit, window: Duration.micros(BigInt(windowMicros)) })

/** Windows and limits that histories below fill and drain many times. */
const keys: Ask["keys"] = [
  { policy: policy("short", 3, 1000), key: ["t"] },
  { policy: policy("middle", 5, 2500), key: ["t", "u"] },
  { policy: policy("middle", 5, 2500), key: ["t", "v"] },
  { policy: policy("long", 12, 8000), key: ["t"] }
]

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** Who is asked for (a bit a key), for how much, and how long after the one before. */
const Step = Schema.Struct({
  pauseMicros: Schema.Union([Schema.Literals([0, 1, 999, 1000, 1001, 2500, 8000]), int(0, 3000)]),
  mask: int(1, 15),
  cost: int(1, 6),
  peek: Schema.Literals([false, false, false, true])
})

/** Long enough to fill the widest window and to see it drain. */
export const Steps = Schema.Array(Step).check(Schema.isMinLength(15), Schema.isMaxLength(60))

/** A prefix sets one history's keys apart from those of any other in the same store. */
export const askOf = (step: typeof Step.Type, prefix = ""): Ask => {
  const asked = keys
    .filter((_, place) => (step.mask & (1 << place)) !== 0)
    .map(({ policy, key: [tenant, ...narrower] }): AskKey => ({ policy, key: [prefix + tenant, ...narrower] }))
  assert(Arr.isArrayNonEmpty(asked))
  return { keys: asked, cost: step.cost }
}

export class Model {
  readonly #logs = new Map<string, SlidingWindow.Log>()

  /** Asserts that `answer` is the only right one at `now`, and remembers what it charged. */
  expect(ask: Ask, answer: Exit.Exit<Grant, LimiterError>, now: number, peek = false): void {
    const at = ask.keys.map(({ policy, key }) => JSON.stringify([policy.name, ...key]))
    const rules = ask.keys.map(({ policy }) => ({ limit: policy.limit, window: policy.windowMicros }))
    const tooMuch = rules.find((rule) => ask.cost > rule.limit)
    if (tooMuch !== undefined) return assert.strictEqual(reasonOf(answer)._tag, "CostAboveLimit")

    const logs = at.map((key) => this.#logs.get(key) ?? SlidingWindow.empty)
    const verdict = SlidingWindow.take(
      logs.map((log, place) => ({ log, rule: rules[place] as SlidingWindow.Rule })),
      ask.cost,
      now
    )
    if (verdict._tag === "Denied") {
      const reason = reasonOf(answer)
      assert(reason._tag === "RateLimited")
      assert.deepStrictEqual(
        [...reason.violated],
        verdict.violated.flatMap((place) => ask.keys[place]?.policy.name ?? [])
      )
      assert.strictEqual(toMicros(reason.retryAfter), verdict.retryAfter)
      return
    }
    assert(answer._tag === "Success")
    if (!peek) for (const [place, key] of at.entries()) this.#logs.set(key, verdict.logs[place] as SlidingWindow.Log)
    for (const [place, rule] of rules.entries()) {
      const log = this.#logs.get(at[place] as string) ?? SlidingWindow.empty
      const quota = answer.value.quotas[place]
      assert(quota !== undefined)
      assert.strictEqual(quota.policy.name, ask.keys[place]?.policy.name)
      assert.strictEqual(quota.remaining, SlidingWindow.remaining(log, rule, now))
      assert.strictEqual(toMicros(quota.resetAfter), SlidingWindow.resetAfter(log, rule, now))
    }
  }
}

export const toMicros = (duration: Duration.Duration): number => Number(Duration.toNanosUnsafe(duration) / 1000n)

export const reasonOf = (answer: Exit.Exit<Grant, LimiterError>): LimiterError["reason"] => {
  assert(answer._tag === "Failure")
  const failure = answer.cause.reasons[0]
  assert(failure?._tag === "Fail")
  return failure.error.reason
}
