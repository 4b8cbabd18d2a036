import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"

import * as Deadlines from "../../src/layers/platform/Deadlines.ts"

const Starts = Schema.Array(
  Schema.Struct({
    pauseMillis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 })),
    deadlineMillis: Schema.Literals([20, 40]),
    /** Answered this long after it started; a few never are. */
    answerMillis: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 60 }))
  })
).check(Schema.isMinLength(5), Schema.isMaxLength(40))

describe("Deadlines", () => {
  it.effect.prop(
    "end every wait at its deadline unless it is over before, whatever else waits",
    { starts: Starts },
    ({ starts }) =>
      Effect.gen(function* () {
        const deadlines = yield* Deadlines.make
        let now = 0
        const expired = new Map<number, number>()
        const waits: Array<{ readonly wait: Deadlines.Wait; readonly answered: number }> = []
        const expected = new Map<number, number>()
        const pass = Effect.fnUntraced(function* (millis: number) {
          for (let tick = 0; tick < millis; tick++) {
            yield* TestClock.adjust("1 millis")
            now++
            for (const { wait, answered } of waits) if (answered === now) wait.end()
          }
        })
        for (const [place, { pauseMillis, deadlineMillis, answerMillis }] of starts.entries()) {
          yield* pass(pauseMillis)
          const wait = deadlines.start(Duration.millis(deadlineMillis), () => expired.set(place, now + 1))
          waits.push({ wait, answered: now + answerMillis })
          if (answerMillis >= deadlineMillis) expected.set(place, now + deadlineMillis)
        }
        yield* pass(100)
        assert.deepStrictEqual(Object.fromEntries(expired), Object.fromEntries(expected))
        assert.isTrue(waits.every(({ wait }) => wait.isOver))
      }),
    { arbitrary: { runs: 30 } }
  )

  it.effect("start again after all were over", () =>
    Effect.gen(function* () {
      const deadlines = yield* Deadlines.make
      let expired = 0
      for (let turn = 1; turn <= 3; turn++) {
        deadlines.start("10 millis", () => expired++).end()
        deadlines.start("10 millis", () => expired++)
        yield* TestClock.adjust("50 millis")
        assert.strictEqual(expired, turn)
      }
    })
  )
})
