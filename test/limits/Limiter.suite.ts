/** What every `Limiter` promises. An adapter that passes may stand in for any other. */
import { randomUUID } from "node:crypto"

import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit } from "effect"
import type { Layer } from "effect"

import { costMax, Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, AskKey, Grant, LimiterError } from "../../src/domain/limits/Limiter.ts"
import type { Policy } from "../../src/domain/limits/Policy.ts"
import { policy } from "./Model.ts"

/** Lets time pass for the limiter's store: `TestClock.adjust`, or a real wait on a real server. */
export type PassTime = (duration: Duration.Duration) => Effect.Effect<void>

/** `it.effect`, or `it.live` where the store keeps its own time. */
type It = (sentence: string, body: () => Effect.Effect<void, unknown>) => void

/** Long enough that a slow machine does not leave it by accident, short enough to wait for. */
const windowMicros = 400_000
const five = policy("five", 5, windowMicros)
const two = policy("two", 2, windowMicros)
const hour = policy("hour", 50, 3_600_000_000)

type Key = AskKey["key"]

const one = (policy: Policy, key: Key, cost = 1): Ask => ({ keys: [{ policy, key }], cost })
const take = (ask: Ask) => Limiter.use((limiter) => limiter.take(ask))
const peek = (ask: Ask) => Limiter.use((limiter) => limiter.peek(ask))

const remaining = (policy: Policy, key: Key) =>
  peek(one(policy, key)).pipe(
    Effect.map(({ quotas }) => quotas[0]?.remaining),
    Effect.orElseSucceed(() => 0)
  )

const refused = (ask: Ask) =>
  Effect.map(Effect.flip(take(ask)), ({ reason }) => {
    assert(reason._tag === "RateLimited")
    return reason
  })

export const limiterSuite = <E>(
  name: string,
  layer: Layer.Layer<Limiter, E>,
  passTime: PassTime,
  run: It = it.effect
) => {
  /** A tenant that nobody used before, also not in an earlier run against the same server. */
  const tenant = (): string => `${name}-${randomUUID()}`
  const test = (sentence: string, body: () => Effect.Effect<void, LimiterError | Grant, Limiter>) =>
    run(sentence, () => body().pipe(Effect.provide(layer)))

  describe(`Limiter (${name})`, () => {
    test("admits up to the limit and counts down", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        for (const left of [4, 3, 2, 1, 0]) {
          const { quotas } = yield* take(one(five, key))
          assert.strictEqual(quotas[0]?.remaining, left)
          assert.isTrue(Duration.isLessThanOrEqualTo(quotas[0]?.resetAfter ?? Duration.infinity, five.window))
        }
        assert.deepStrictEqual((yield* refused(one(five, key))).violated, [five.name])
      }))

    test("charges no key when one of them is full, and names every full one", () =>
      Effect.gen(function* () {
        const [whole, full, fuller] = [tenant(), tenant(), tenant()].map((t): Key => [t]) as [Key, Key, Key]
        yield* take(one(five, full, 5))
        yield* take(one(two, fuller, 2))
        const denied = yield* refused({
          keys: [
            { policy: hour, key: whole },
            { policy: five, key: full },
            { policy: two, key: fuller }
          ],
          cost: 1
        })
        assert.deepStrictEqual(denied.violated, [five.name, two.name])
        assert.strictEqual(yield* remaining(hour, whole), 50)
      }))

    test("charges nothing for a refusal, whatever it would have cost", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        yield* take(one(five, key, 4))
        for (let times = 0; times < 20; times++) yield* refused(one(five, key, 2 + (times % 4)))
        assert.strictEqual((yield* take(one(five, key))).quotas[0]?.remaining, 0)
      }))

    test("tells a refused caller exactly when to come back", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        yield* take(one(five, key, 2))
        yield* passTime(Duration.millis(50))
        yield* take(one(five, key, 3))
        const soon = (yield* refused(one(five, key))).retryAfter
        const later = (yield* refused(one(five, key, 3))).retryAfter
        assert.isTrue(Duration.isGreaterThanOrEqualTo(later, Duration.sum(soon, Duration.millis(45))))
        yield* passTime(soon)
        yield* take(one(five, key, 2))
      }))

    test("frees a unit when its window has passed, not with the next tick of some calendar", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        yield* take(one(two, key, 2))
        yield* refused(one(two, key))
        yield* passTime(two.window)
        assert.strictEqual((yield* take(one(two, key))).quotas[0]?.remaining, 1)
      }))

    test("charges nothing for a peek, and answers it as it would a take", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        for (let times = 0; times < 10; times++) yield* peek(one(two, key, 2))
        assert.strictEqual(yield* remaining(two, key), 2)
        yield* take(one(two, key, 2))
        const { reason } = yield* Effect.flip(peek(one(two, key)))
        assert.strictEqual(reason._tag, "RateLimited")
      }))

    test("charges a key that is named twice once", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const twice = { policy: five, key }
        const { quotas } = yield* take({ keys: [twice, twice], cost: 2 })
        assert.deepStrictEqual(
          quotas.map((quota) => quota.remaining),
          [3, 3]
        )
        assert.strictEqual(yield* remaining(five, key), 3)
      }))

    test("keeps keys apart whatever their segments hold", () =>
      Effect.gen(function* () {
        const t = tenant()
        const long = "x".repeat(10_240)
        const lone = "\ud800"
        const keys: ReadonlyArray<Key> = [
          [t, "a:b"],
          [t, "a", "b"],
          [t, "a}", "b"],
          [t, "a", "}b"],
          [`${t}:a`, "b"],
          [`{${t}`],
          [`${t}}`],
          [`${t}\0`],
          [t],
          [t, ""],
          [t, "", ""],
          [t, "%3A"],
          [t, ":"],
          [t, "\0"],
          [t, "\n"],
          [t, "ä"],
          [t, "a\u0308"],
          [t, "💥"],
          [t, lone],
          [t, "\ud801"],
          [t, "\ufffd"],
          [t, `${long}y`],
          [t, `${long}z`],
          [t, long, "y"],
          [t, `${long}${lone}`],
          [t, `${long}\ufffd`],
          ["", t],
          [""],
          [t, "a|b"],
          [t, "a|1:b"],
          [t, "__proto__"]
        ]
        for (const key of keys) yield* take(one(hour, key))
        for (const key of keys.filter(([first]) => first !== "")) assert.strictEqual(yield* remaining(hour, key), 49)
      }))

    test("counts a policy apart from another under the same key", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        yield* take(one(two, key, 2))
        assert.strictEqual(yield* remaining(five, key), 5)
      }))

    test("refuses a cost that can never fit, and says what would", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const { reason } = yield* Effect.flip(take(one(five, key, 6)))
        assert(reason._tag === "CostAboveLimit")
        assert.deepStrictEqual([reason.policy, reason.cost, reason.limit], [five.name, 6, 5])
        const wide = policy("wide", costMax * 2, windowMicros)
        const above = (yield* Effect.flip(take(one(wide, key, costMax + 1)))).reason
        assert(above._tag === "CostAboveLimit")
        assert.strictEqual(above.limit, costMax)
        assert.strictEqual(yield* remaining(five, key), 5)
        assert.strictEqual(yield* remaining(wide, key), costMax * 2)
      }))

    test("refuses a cost that is no whole number of units", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        for (const cost of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
          for (const ask of [take, peek]) {
            const { reason } = yield* Effect.flip(ask(one(five, key, cost)))
            assert.strictEqual(reason._tag, "CostNotCountable")
          }
        }
        assert.strictEqual(yield* remaining(five, key), 5)
      }))

    test("acts on a changed limit with the next decision, both ways", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        yield* take(one(five, key, 5))
        const { quotas } = yield* take(one(policy("five", 8, windowMicros), key))
        assert.strictEqual(quotas[0]?.remaining, 2)
        yield* refused(one(policy("five", 2, windowMicros), key))
        assert.strictEqual((yield* take(one(policy("five", 8, windowMicros), key))).quotas[0]?.remaining, 1)
      }))

    test("admits exactly the limit to many callers at once", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const asks = Array.from({ length: 200 }, () => Effect.exit(take(one(hour, key))))
        const answers = yield* Effect.all(asks, { concurrency: "unbounded" })
        assert.strictEqual(answers.filter(Exit.isSuccess).length, 50)
      }))
  })
}
