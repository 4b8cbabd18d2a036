import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Exit, Schema } from "effect"

import type { Ask } from "../../src/domain/limits/Limiter.ts"
import * as SlidingWindow from "../../src/domain/limits/SlidingWindow.ts"
import { Denials } from "../../src/layers/limits/Denials.ts"
import { policy, reasonOf, toMicros } from "./Model.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const policies = [policy("narrow", 3, 40_000), policy("wide", 6, 90_000), policy("slow", 4, 3_000_000)] as const
const names = ["n", "w", "s"]

/** Units of each key, their ages, and a refusal on its way there and back. */
const History = Schema.Struct({
  ages: Schema.Array(Schema.Array(int(0, 3_200_000)).check(Schema.isMaxLength(8))).check(
    Schema.isMinLength(3),
    Schema.isMaxLength(3)
  ),
  scale: Schema.Literals([1, 30, 80]),
  cost: int(1, 3),
  there: int(0, 3000),
  back: int(0, 3000),
  later: Schema.Array(int(0, 1_500_000)).check(Schema.isMinLength(20), Schema.isMaxLength(40))
})

const known = (denials: Denials, asked: Ask) => denials.find(asked, () => ["n"], 10) !== undefined

describe("Denials", () => {
  it.prop(
    "refuse what is refused, by the keys that are full, and name a wait that is long enough and no longer than the way",
    { history: History },
    ({ history: { ages, back, cost, later, scale, there } }) => {
      const redis = 10_000_000
      const keys = policies.map((of, place) => ({
        log: (ages[place] ?? []).map((age) => redis - Math.floor(age / scale)).toSorted((a, b) => a - b),
        rule: { limit: of.limit, window: of.windowMicros }
      }))
      const ask: Ask = { keys: Arr.map(policies, (of, place) => ({ policy: of, key: [`${place}`] })), cost }
      const denials = new Denials(10)
      const waits = keys.map(({ log, rule }) => SlidingWindow.retryAfter(log, rule, cost, redis))
      const full = waits.flatMap((waitMicros, place) =>
        waitMicros === 0 ? [] : [{ policy: (policies[place] ?? policies[0]).name, waitMicros }]
      )
      if (!Arr.isArrayNonEmpty(full)) return
      denials.note(ask, names, full, { sent: redis - there, answered: redis + back })
      for (const at of later.toSorted((a, b) => a - b).map((pause) => redis + back + pause)) {
        const verdict = SlidingWindow.take(keys, cost, at)
        const found = denials.find(ask, () => names, at)
        const believed = at < redis - there + Math.min(1_000_000, Math.max(...waits))
        assert.strictEqual(found !== undefined, believed)
        if (found === undefined) continue
        const reason = reasonOf(found)
        assert(reason._tag === "RateLimited" && verdict._tag === "Denied")
        const truly = verdict.violated.map((place) => policies[place]?.name)
        assert.includeMembers(truly, [...reason.violated])
        for (const name of truly) {
          const ends = redis - there + (full.find((one) => one.policy === name)?.waitMicros ?? 0)
          if (at < ends) assert.include([...reason.violated], name)
        }
        assert.isAtLeast(toMicros(reason.retryAfter), verdict.retryAfter)
        assert.isAtMost(toMicros(reason.retryAfter), verdict.retryAfter + back + 100)
      }
    },
    { arbitrary: { runs: 300 } }
  )

  const ask: Ask = { keys: [{ policy: policies[0], key: ["t"] }], cost: 1 }
  const full = [{ policy: policies[0].name, waitMicros: 500_000 }] as const
  it("are of this cost, this limit and these keys", () => {
    const denials = new Denials(10)
    denials.note(ask, ["n"], full, { sent: 0, answered: 5 })
    assert.isTrue(known(denials, { ...ask }))
    assert.isFalse(known(denials, { ...ask, cost: 2 }))
    assert.isFalse(known(denials, { ...ask, keys: [{ policy: policy("narrow", 4, 40_000), key: ["t"] }] }))
    assert.isUndefined(denials.find({ ...ask }, () => ["m"], 10))
    assert.isTrue(Exit.isFailure(denials.find(ask, () => ["n"], 10) ?? Exit.void))
    denials.clear()
    assert.isFalse(known(denials, ask))
  })

  it("are so many and no more", () => {
    const denials = new Denials(2)
    for (const name of ["a", "b", "c"]) denials.note(ask, [name], full, { sent: 0, answered: 5 })
    assert.strictEqual(denials.size, 2)
    assert.isUndefined(denials.find(ask, () => ["a"], 10))
    assert.isDefined(denials.find(ask, () => ["c"], 10))
  })
})
