import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { Ring } from "../../src/layers/limits/Ring.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const Step = Schema.Union([
  Schema.TaggedStruct("push", { pause: int(0, 20), cost: int(1, 4), brought: Schema.Boolean }),
  Schema.TaggedStruct("trim", { back: int(0, 120) }),
  Schema.TaggedStruct("remove", { nth: int(0, 200) })
])

describe("Ring", () => {
  it.prop(
    "is a list of decisions that are pushed, trimmed and removed, whatever the order",
    { steps: Schema.Array(Step).check(Schema.isMinLength(60), Schema.isMaxLength(300)) },
    ({ steps }) => {
      const ring = new Ring()
      let list: Array<{ at: number; cost: number; id: number | string }> = []
      let now = 0
      let made = 0
      for (const step of steps) {
        if (step._tag === "push") {
          now += step.pause
          const id = step.brought ? `b${made++}` : made++
          ring.push(now, step.cost, id, 40)
          list.push({ at: now, cost: step.cost, id })
          while (list.reduce((units, { cost }) => units + cost, 0) > 40) list.shift()
        } else if (step._tag === "trim") {
          ring.trim(now - step.back)
          list = list.filter(({ at }) => at > now - step.back)
        } else {
          const id = list[step.nth]?.id ?? `b${step.nth}`
          const cost = list.find((one) => one.id === id)?.cost ?? 0
          assert.strictEqual(ring.unitsOf(id), cost)
          assert.strictEqual(ring.remove(id), cost)
          assert.strictEqual(ring.unitsOf(id), 0)
          list = list.filter((one) => one.id !== id)
        }
        const held: typeof list = []
        ring.each((at, cost, id) => held.push({ at, cost, id }))
        assert.deepStrictEqual(held, list)
        const units = list.flatMap(({ at, cost }) => Array.from({ length: cost }, () => at))
        assert.strictEqual(ring.units, units.length)
        assert.strictEqual(ring.size, list.length)
        assert.strictEqual(ring.oldest, units[0] ?? Number.NEGATIVE_INFINITY)
        assert.strictEqual(ring.newest, units.at(-1) ?? Number.NEGATIVE_INFINITY)
        for (const [place, at] of units.entries()) assert.strictEqual(ring.unit(place + 1), at)
        assert.strictEqual(ring.unit(units.length + 1), Number.NEGATIVE_INFINITY)
        assert.isAtMost(ring.slots, 2 * ring.size + 17)
      }
    }
  )
})
