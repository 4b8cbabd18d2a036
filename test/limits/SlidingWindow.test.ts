import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import * as SlidingWindow from "../../src/domain/limits/SlidingWindow.ts"

const rule = { limit: 4, window: 100 }
const pause = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 }))
const cost = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))
const Asks = Schema.Array(Schema.Struct({ pause, cost })).check(Schema.isMinLength(10), Schema.isMaxLength(60))

/** Every ask in its turn; `each` sees the log before and the verdict. */
const play = (
  asks: typeof Asks.Type,
  each: (step: { log: SlidingWindow.Log; cost: number; now: number; verdict: SlidingWindow.Verdict }) => void
) => {
  let log = SlidingWindow.empty
  let now = 1000
  for (const { pause, cost } of asks) {
    now += pause
    const verdict = SlidingWindow.take([{ log, rule }], cost, now)
    each({ log, cost, now, verdict })
    if (verdict._tag === "Admitted") log = verdict.logs[0] as SlidingWindow.Log
  }
}

describe("SlidingWindow", () => {
  it.prop("admits at most the limit in any window, wherever the window is laid", { asks: Asks }, ({ asks }) => {
    const admitted: Array<number> = []
    play(asks, ({ cost, now, verdict }) => {
      if (verdict._tag === "Admitted") for (let unit = 0; unit < cost; unit++) admitted.push(now)
    })
    for (const end of admitted) {
      assert.isAtMost(admitted.filter((at) => at > end - rule.window && at <= end).length, rule.limit)
    }
  })

  it.prop("refuses only where there was no room", { asks: Asks }, ({ asks }) => {
    play(asks, ({ log, cost, now, verdict }) => {
      if (verdict._tag === "Denied") {
        assert.isAbove(SlidingWindow.live(log, rule.window, now).length + cost, rule.limit)
      }
    })
  })

  it.prop("names the first instant at which a refused ask passes", { asks: Asks }, ({ asks }) => {
    play(asks, ({ log, cost, now, verdict }) => {
      if (verdict._tag === "Admitted") return
      const at = (when: number) => SlidingWindow.take([{ log, rule }], cost, when)._tag
      assert.strictEqual(at(now + verdict.retryAfter), "Admitted")
      assert.strictEqual(at(now + verdict.retryAfter - 1), "Denied")
    })
  })

  it.prop("does not give a unit back before it says so", { asks: Asks }, ({ asks }) => {
    play(asks, ({ log, now }) => {
      const reset = SlidingWindow.resetAfter(log, rule, now)
      const left = SlidingWindow.remaining(log, rule, now)
      if (reset === 0) return assert.strictEqual(left, rule.limit)
      assert.strictEqual(SlidingWindow.remaining(log, rule, now + reset - 1), left)
      assert.isAbove(SlidingWindow.remaining(log, rule, now + reset), left)
    })
  })

  it("says never when a cost does not fit an empty window", () => {
    assert.strictEqual(SlidingWindow.retryAfter([], rule, 5, 0), Number.POSITIVE_INFINITY)
  })

  it("never reports less than nothing after a limit was lowered", () => {
    assert.strictEqual(SlidingWindow.remaining([1, 2, 3, 4], { limit: 2, window: 100 }, 5), 0)
    assert.strictEqual(SlidingWindow.retryAfter([1, 2, 3, 4], { limit: 2, window: 100 }, 1, 5), 3 + 100 - 5)
  })
})
