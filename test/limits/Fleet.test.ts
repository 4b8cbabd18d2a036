import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import * as Fleet from "../../src/domain/limits/Fleet.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, one) => total + one, 0)

describe("Fleet", () => {
  it.prop("deals every limit out to the unit", { limit: int(1, 500), size: int(1, 40) }, ({ limit, size }) => {
    const ranks = Array.from({ length: size }, (_, rank) => rank)
    assert.strictEqual(Fleet.reserved(limit, size, ranks), limit)
  })

  it.prop(
    "gives out no more than the limit while some have seen a newcomer and some have not",
    { limit: int(1, 200), seen: Schema.Array(Schema.Boolean).check(Schema.isMinLength(1), Schema.isMaxLength(12)) },
    ({ limit, seen }) => {
      const names = seen.map((_, n) => `instance-${n}`)
      for (const newcomer of ["a", "instance-3x", "z"]) {
        const at = (instance: string, of: ReadonlyArray<string>) =>
          Fleet.share(
            limit,
            Fleet.placeOf(
              of.map((name) => ({ instance: name, at: 0 })),
              instance
            )
          )
        const shares = names.map((name, n) => at(name, seen[n] === true ? [...names, newcomer] : names))
        assert.isAtMost(sum(shares), limit)
        // It has a share of its own when all have seen it.
        const own = seen.every((one) => one) ? at(newcomer, [...names, newcomer]) : 0
        assert.isAtMost(sum(shares) + own, limit)
      }
    }
  )

  it("lets an instance share once everybody else has beaten since it joined", () => {
    const beats = [
      { instance: "old", at: 100 },
      { instance: "new", at: 90 }
    ]
    assert.isTrue(Fleet.seenByAll(beats, "new", 90))
    assert.isFalse(Fleet.seenByAll(beats, "new", 100))
    assert.isTrue(Fleet.seenByAll([], "alone", 5))
  })
})
