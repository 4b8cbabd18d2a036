import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Schema } from "effect"

import * as OpenWindow from "../../src/domain/breakers/OpenWindow.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const drawn = {
  backoff: between(0, 60),
  millionths: between(0, 999_999),
  base: between(1, 10_000),
  cap: between(1, 100_000),
  asked: between(0, 200_000)
}

describe("OpenWindow", () => {
  it.prop(
    "lies between the grown window and its double, and never beyond the cap",
    drawn,
    ({ backoff, millionths, base, cap, asked }) => {
      if (cap < base) return
      const bounds = { windowMillis: base, windowCapMillis: cap }
      const chance = millionths / 1e6
      const plain = OpenWindow.jittered(OpenWindow.grown(bounds, backoff), bounds, chance)
      const window = OpenWindow.held(plain, asked, bounds, chance)
      assert.isAtLeast(window, Math.min(Math.max(base, asked), cap))
      assert.isAtMost(window, cap)
      if (asked > 0) return
      const grown = base * 2 ** backoff
      assert.isAtMost(window, 2 * grown)
      if (2 * grown <= cap) assert.isAtLeast(window, grown)
    }
  )

  it("spreads windows at the cap as well", () => {
    const bounds = { windowMillis: 1000, windowCapMillis: 30_000 }
    const at = (chance: number) => OpenWindow.jittered(OpenWindow.grown(bounds, 30), bounds, chance)
    assert.deepStrictEqual([at(0), at(0.5), at(0.999999)], [15_000, 22_500, 29_999])
  })

  it("spreads what lies between the window and a cap below its double", () => {
    const bounds = { windowMillis: 20_000, windowCapMillis: 30_000 }
    const at = (chance: number) => OpenWindow.jittered(20_000, bounds, chance)
    assert.deepStrictEqual([at(0), at(0.5), at(0.999999)], [20_000, 25_000, 29_999])
    assert.strictEqual(OpenWindow.jittered(40_000, bounds, 0.5), 30_000)
  })

  it.effect.prop(
    "is the same as a schedule",
    { backoff: between(0, 20), base: between(1, 10_000), times: between(2, 100), seed: between(0, 1e6) },
    Effect.fnUntraced(function* ({ backoff, base, times, seed }) {
      const bounds = { windowMillis: base, windowCapMillis: base * times }
      const delay = yield* OpenWindow.delayOf(OpenWindow.doubling(bounds), backoff).pipe(Random.withSeed(seed))
      // The n-th window is drawn with the n-th number.
      const chances = yield* Effect.all(Array.from({ length: backoff + 1 }, () => Random.next)).pipe(
        Random.withSeed(seed)
      )
      assert.strictEqual(delay, OpenWindow.jittered(OpenWindow.grown(bounds, backoff), bounds, chances.at(-1) ?? 0))
    })
  )
})
