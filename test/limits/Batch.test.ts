import { assert, describe, it } from "@effect/vitest"

import type { Ask } from "../../src/domain/limits/Limiter.ts"
import { asksMax, Batch, kinds } from "../../src/layers/limits/Batch.ts"
import { Ids } from "../../src/layers/limits/Ids.ts"
import { policy } from "./Model.ts"

const traveller = (limit: number, cost = 1, key = "k") => {
  const ask: Ask = { keys: [{ policy: policy("p", limit, 1000), key: [key] }], cost }
  return { ask, names: [key], id: 0, kind: kinds.fresh }
}

describe("Batch", () => {
  it("takes no ask whose key has another limit here, and changes nothing for it", () => {
    const batch = new Batch()
    assert.isTrue(batch.add(traveller(5)))
    assert.isFalse(
      batch.add({
        ...traveller(5, 1, "l"),
        names: ["l", "k"],
        ask: { ...traveller(6).ask, keys: [...traveller(5, 1, "l").ask.keys, ...traveller(6).ask.keys] }
      })
    )
    assert.deepStrictEqual(batch.keys("e"), ["e", "k"])
    assert.isTrue(batch.add(traveller(5)))
    assert.deepStrictEqual(
      batch.values("known", 7, new Ids("x"), ({ limit }) => limit),
      ["known", 7, 5, 1000, 0, 0, "x0", 0, 1, 1, 1, "x0", 0, 1, 1, 1]
    )
  })

  it("ends where Redis would be kept too long: after so many asks, or so many units", () => {
    const many = new Batch()
    for (let asks = 0; asks < asksMax; asks++) assert.isTrue(many.add(traveller(5)))
    assert.isFalse(many.add(traveller(5)))
    const dear = new Batch()
    assert.isTrue(dear.add(traveller(10_000, 10_000)))
    assert.isFalse(dear.add(traveller(10_000, 1)))
  })
})
