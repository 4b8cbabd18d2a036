import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { type Mark, type Rule, Tally } from "../../src/domain/breakers/Tally.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const call = Schema.Struct({ mark: Schema.Literals(["success", "slow", "failure"]), pause: between(0, 400) })
const calls = Schema.Array(call).check(Schema.isMaxLength(60))

const rates = (marks: ReadonlyArray<Mark>) => ({
  failureRate: marks.filter((mark) => mark === "failure").length / marks.length,
  slowRate: marks.filter((mark) => mark === "slow").length / marks.length
})
const never = { callsMin: 1000, failureRate: 2, slowRate: 2 }

const trips = (rule: Rule, marks: ReadonlyArray<Mark>, share = 1) => {
  const tally = new Tally([rule])
  return marks.map((mark) => tally.record(mark, 0, share)).findIndex((why) => why !== undefined) + 1
}
describe("Tally", () => {
  it.prop("of the last calls holds the last calls", { calls, size: between(1, 12) }, ({ calls, size }) => {
    const tally = new Tally([{ _tag: "CountWindow", calls: size, ...never }])
    const seen: Array<Mark> = []
    for (const { mark } of calls) {
      tally.record(mark, 0, 1)
      seen.push(mark)
      assert.deepStrictEqual(tally.rates(0), rates(seen.slice(-size)))
    }
  })

  it.prop(
    "of a time holds every call younger than nine tenths of it, and none that is older",
    { calls },
    ({ calls }) => {
      const over = 1000
      const tally = new Tally([{ _tag: "TimeWindow", overMillis: over, ...never }])
      const seen: Array<{ readonly mark: Mark; readonly at: number }> = []
      let now = 0
      for (const { mark, pause } of calls) {
        now += pause
        tally.record(mark, now, 1)
        seen.push({ mark, at: now })
        for (const later of [now, now + 350, now + 950, now + 2500]) {
          const counted = tally.rates(later)
          const candidates = [...seen.keys()]
            .map((from) => seen.slice(from))
            .filter((some) => {
              const before = seen[seen.length - some.length - 1]
              const isWhole = before === undefined || before.at <= later - 0.9 * over
              return isWhole && some.every(({ at }) => at > later - over)
            })
          const possible = candidates.map((some) => JSON.stringify(rates(some.map((one) => one.mark))))
          if (counted === undefined) assert.isTrue(seen.every(({ at }) => at <= later - 0.9 * over))
          else assert.include(possible, JSON.stringify(counted))
        }
      }
    }
  )

  const count = { _tag: "CountWindow", calls: 10, callsMin: 4, failureRate: 0.5, slowRate: 2 } as const

  it("trips with the call that completes the evidence, and not on good news", () => {
    assert.strictEqual(
      trips({ _tag: "Consecutive", failures: 3 }, ["failure", "failure", "success", "failure", "failure", "failure"]),
      6
    )
    assert.strictEqual(trips(count, ["failure", "failure", "failure", "failure"]), 4)
    assert.strictEqual(trips(count, ["success", "success", "success", "failure", "failure", "failure"]), 6)
    assert.strictEqual(trips(count, ["failure", "failure", "success", "success", "success", "success"]), 0)
  })

  it("trips on slow calls where their rate is named, and counts a failure among them", () => {
    assert.strictEqual(trips(count, ["slow", "slow", "slow", "slow"]), 0)
    assert.strictEqual(trips({ ...count, slowRate: 0.5 }, ["success", "success", "failure", "slow"]), 4)
    assert.strictEqual(trips({ ...count, failureRate: 2, slowRate: 1 }, ["slow", "failure", "slow", "slow"]), 4)
  })

  it("needs a share of the evidence where others have seen it", () => {
    assert.strictEqual(trips({ _tag: "Consecutive", failures: 10 }, ["failure", "failure", "failure"], 0.2), 2)
    assert.strictEqual(trips(count, ["failure"], 0.2), 1)
  })

  it("says why", () => {
    const tally = new Tally([count])
    assert.deepStrictEqual(
      (["failure", "success", "success", "failure"] as const).map((mark) => tally.record(mark, 0, 1)),
      [undefined, undefined, undefined, "2 of 4 calls failed"]
    )
    assert.strictEqual(tally.failuresInRow, 1)
  })
})
