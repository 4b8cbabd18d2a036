/** What every `Limiter` promises. An adapter that passes may stand in for any other. */
import { randomUUID } from "node:crypto"

import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit } from "effect"
import type { Layer } from "effect"

import { costMax, DecisionId, Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, AskKey, Grant, LimiterError } from "../../src/domain/limits/Limiter.ts"
import { Policy } from "../../src/domain/limits/Policy.ts"
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

/** An id that no earlier run against the same server used. */
const newId = () => DecisionId.make(randomUUID())

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
        const t = tenant()
        const [whole, full, fuller]: [Key, Key, Key] = [[t], [t, "full"], [t, "fuller"]]
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

    test("refuses a cost above what the policy lets one ask cost", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const capped = new Policy({ ...five, costMax: 2 })
        yield* take(one(capped, key, 2))
        const { reason } = yield* Effect.flip(take(one(capped, key, 3)))
        assert(reason._tag === "CostAboveLimit")
        assert.strictEqual(reason.limit, 2)
        assert.strictEqual(yield* remaining(capped, key), 3)
      }))

    test("charges a decision once, however often it is asked under its id, also at a key that is full by now", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const asked: Ask = { ...one(five, key, 2), id: newId() }
        for (let times = 0; times < 3; times++) {
          const { id, quotas } = yield* take(asked)
          assert.deepStrictEqual([id, quotas[0]?.remaining], [asked.id, 3])
        }
        yield* take(one(five, key, 3))
        assert.strictEqual((yield* take(asked)).quotas[0]?.remaining, 0)
        yield* refused({ ...asked, id: newId() })
      }))

    test("names a decision by an id of its own, under which it may be asked again", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const { id } = yield* take(one(five, key))
        assert.notStrictEqual((yield* take(one(five, key))).id, id)
        assert.strictEqual((yield* take({ ...one(five, key), id })).quotas[0]?.remaining, 3)
      }))

    test("charges a decision anew when its units have left the window", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const asked: Ask = { ...one(two, key, 2), id: newId() }
        yield* take(asked)
        yield* passTime(two.window)
        assert.strictEqual((yield* take(asked)).quotas[0]?.remaining, 0)
        yield* refused(one(two, key))
      }))

    test("lets nobody take an id that is still to be made", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const { id } = yield* take(one(hour, key))
        const [, stem = "", last = ""] = /^(.*)(.)$/.exec(id) ?? []
        const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
        const place = digits.indexOf(last)
        const next = place < 35 ? [`${stem}${digits[place + 1]}`, `${stem}${digits[place + 2]}`] : []
        for (const guess of next) yield* take({ ...one(hour, key), id: DecisionId.make(guess) })
        for (let times = 0; times < 5; times++) yield* take(one(hour, key))
        assert.strictEqual(yield* remaining(hour, key), 50 - 1 - next.length - 5)
      }))

    test("gives back what a decision charged, once, under all of its keys", () =>
      Effect.gen(function* () {
        const limiter = yield* Limiter
        const [key, other]: [Key, Key] = [[tenant()], [tenant(), "u"]]
        const keys: Ask["keys"] = [
          { policy: five, key },
          { policy: hour, key: [...key, ...other] as Key }
        ]
        yield* take(one(five, key))
        const { id } = yield* take({ keys, cost: 3 })
        yield* take(one(five, key))
        assert.strictEqual(yield* limiter.refund({ keys, cost: 3, id }), 3)
        assert.deepStrictEqual(
          (yield* peek({ keys, cost: 1 })).quotas.map((quota) => quota.remaining),
          [3, 50]
        )
        assert.strictEqual(yield* limiter.refund({ keys, cost: 3, id }), 0)
        const brought: Ask = { ...one(five, key, 2), id: newId() }
        yield* take(brought)
        assert.strictEqual(yield* limiter.refund({ ...brought, id: brought.id as DecisionId }), 2)
        assert.strictEqual(yield* limiter.refund({ ...one(five, key, 5), id: newId() }), 0)
        assert.strictEqual(yield* remaining(five, key), 3)
        assert.strictEqual((yield* take(brought)).quotas[0]?.remaining, 1)
      }))

    test("forgets what it counted under a key that is reset, and under no other", () =>
      Effect.gen(function* () {
        const [key, other]: [Key, Key] = [[tenant()], [tenant()]]
        for (const full of [key, other]) yield* take(one(two, full, 2))
        yield* Limiter.use((limiter) => limiter.reset([{ policy: two, key }]))
        assert.strictEqual((yield* take(one(two, key))).quotas[0]?.remaining, 1)
        yield* refused(one(two, other))
      }))

    test("refuses nobody for a policy that only observes, and charges it no more than it holds", () =>
      Effect.gen(function* () {
        const key: Key = [tenant()]
        const watched = new Policy({ ...two, observe: true })
        const keys: Ask["keys"] = [
          { policy: watched, key },
          { policy: hour, key }
        ]
        for (const left of [1, 0, 0, 0]) assert.strictEqual((yield* take({ keys, cost: 1 })).quotas[0]?.remaining, left)
        assert.strictEqual(yield* remaining(hour, key), 46)
        yield* passTime(two.window)
        assert.strictEqual((yield* take({ keys, cost: 1 })).quotas[0]?.remaining, 1)
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
