import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"

import * as Deadline from "../../src/domain/Deadline.ts"

const millis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3_600_000 }))

describe("Deadline", () => {
  it.effect("is narrowed on the way in, never extended, and inherited by child fibers", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* Deadline.left)
      const child = Effect.flatMap(Effect.forkChild(Deadline.left), Fiber.join)
      const inner = (budget: Duration.Input) => Deadline.within("2 seconds")(Deadline.within(budget)(child))
      assert.deepStrictEqual(yield* inner("1 second"), Duration.seconds(1))
      assert.deepStrictEqual(yield* inner("3 seconds"), Duration.seconds(2))
      assert.isUndefined(yield* Deadline.within("1 second")(Deadline.lifted(child)))
    })
  )

  it.effect("runs out, and then stands at nothing", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("700 millis")
      assert.deepStrictEqual(yield* Deadline.left, Duration.millis(300))
      yield* TestClock.adjust("400 millis")
      assert.deepStrictEqual(yield* Deadline.left, Duration.zero)
    }).pipe(Deadline.within("1 second"))
  )

  it.prop("travels as whole milliseconds, rounded down", { millis }, ({ millis }) => {
    const told = Deadline.toHeader(Duration.nanos(BigInt(millis) * 1_000_000n + 999_999n))
    assert.deepStrictEqual(Deadline.fromHeader(told), Duration.millis(millis))
  })

  it("does not believe what no service of ours would send", () => {
    for (const odd of ["", "-1", "1.5", "1e3", "soon", "3600001", "99999999", " 5"]) {
      assert.isUndefined(Deadline.fromHeader(odd), odd)
    }
    assert.strictEqual(Deadline.header, "x-cribwork-deadline-ms")
  })
})
