import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"

import type { Ask } from "../../src/domain/limits/Limiter.ts"
import { Policy } from "../../src/domain/limits/Policy.ts"
import * as SlidingWindow from "../../src/domain/limits/SlidingWindow.ts"
import { Leases, lendMicros } from "../../src/layers/limits/Leases.ts"
import { policy } from "./Model.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const leased = new Policy({ ...policy("leased", 40, 1000), lease: { units: 20, ttl: Duration.micros(400n) } })
const ask: Ask = { keys: [{ policy: leased, key: ["t"] }], cost: 1 }
const rule = { limit: leased.limit, window: leased.windowMicros }

/** Who asks, how often at once, and how long after the one before; a trip to the store takes as long as it says. */
const Step = Schema.Struct({ who: int(0, 2), times: int(1, 12), pause: int(0, 300), trip: int(0, 40) })

/** `resetMicros` carries how much later than its end the store dated it. */
const lend = (leases: Leases, id: number, units: number, until: number, now: number, resetMicros = 0) =>
  leases.lent(
    "k",
    { name: "k", policy: leased, id, units, until, beside: 0, resetMicros, used: 0, uses: new Map() },
    now
  )

describe("Leases", () => {
  it.prop(
    "admit no more than the limit in any window, whoever holds them and whatever goes back",
    { steps: Schema.Array(Step).check(Schema.isMinLength(40), Schema.isMaxLength(120)) },
    ({ steps }) => {
      const holders = [new Leases(), new Leases(), new Leases()]
      const uses: Array<number> = []
      let log: ReadonlyArray<number> = []
      let now = 1_000_000
      let id = 0
      for (const { pause, times, trip, who } of steps) {
        now += pause
        const leases = holders[who] as Leases
        for (const over of leases.over(now)) {
          const ends = log.lastIndexOf(over.until + over.resetMicros)
          log = log.filter((_, place) => place <= ends - (over.units - over.used) || place > ends)
        }
        for (let turn = 0; turn < times; turn++) {
          if (leases.take(ask, ["k"], id++, now) !== undefined) {
            uses.push(now)
            continue
          }
          const sent = now
          now += trip
          const live = SlidingWindow.live(log, rule.window, now)
          const single = SlidingWindow.take([{ log: live, rule }], 1, now)
          if (single._tag === "Denied") continue
          log = [...live, now].toSorted((a, b) => a - b)
          uses.push(now)
          const units = leases.borrow("k", leased, 1, rule.limit - log.length, now)
          if (units === 0 || log.length + units > rule.limit) {
            if (units > 0) leases.lent("k", undefined, now)
            continue
          }
          const dated = now + lendMicros(leased)
          log = [...log, ...Array.from({ length: units }, () => dated)].toSorted((a, b) => a - b)
          now += trip
          const until = sent + lendMicros(leased)
          lend(leases, id++, units, until, now, dated - until)
        }
      }
      for (const end of uses) {
        assert.isAtMost(uses.filter((at) => at > end - rule.window && at <= end).length, rule.limit)
      }
    },
    { arbitrary: { runs: 300 } }
  )

  it("are taken from all keys or from none, and only while they last and the limit stays", () => {
    const leases = new Leases()
    lend(leases, 1, 2, 100, 0)
    const both: Ask = { keys: [...ask.keys, { policy: leased, key: ["u"] }], cost: 1 }
    assert.isUndefined(leases.take(both, ["k", "l"], 2, 0))
    assert.isDefined(leases.take(ask, ["k"], 3, 0))
    assert.isUndefined(leases.take({ ...ask, cost: 2 }, ["k"], 4, 0))
    const lowered = new Policy({ ...leased, limit: 39 })
    assert.isUndefined(leases.take({ keys: [{ policy: lowered, key: ["t"] }], cost: 1 }, ["k"], 5, 0))
    assert.deepStrictEqual(
      leases.over(0).map(({ units, used }) => units - used),
      [1]
    )
    lend(leases, 6, 2, 100, 0)
    assert.isUndefined(leases.take(ask, ["k"], 7, 100))
  })

  it("are borrowed for keys that are asked for by the dozen, one at a time, and while plenty is left", () => {
    const leases = new Leases()
    const asked = Array.from({ length: 12 }, () => leases.borrow("k", leased, 1, 1000, 0))
    assert.deepStrictEqual(asked, [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0])
    leases.lent("k", undefined, 0)
    assert.strictEqual(leases.borrow("k", leased, 1, 1000, 10), 13)
    leases.lent("k", undefined, 10)
    assert.strictEqual(leases.borrow("k", leased, 1, 31, 20), 0)
    assert.strictEqual(leases.borrow("k", leased, 1, 1000, 5000), 0)
    assert.strictEqual(leases.borrow("j", policy("plain", 40, 1000), 50, 1000, 0), 0)
  })
})
