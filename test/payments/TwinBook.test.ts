import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"

import * as TwinBook from "../../src/layers/payments/TwinBook.ts"

const key = "00000000-0000-4000-8000-000000000001"
const order = (source: string) => TwinBook.Order.make({ amount: 5, currency: "EUR", source })

const bounds = { window: Duration.hours(24), keysMax: 4 }

const open = (entries: ReadonlyArray<TwinBook.Entry> = []) =>
  Effect.gen(function* () {
    const written = [...entries]
    const append = (entry: TwinBook.Entry) => void written.push(entry)
    const book = yield* TwinBook.make({ ...bounds, entries, append })
    return { book, written }
  })

const refuseToSettle = (entry: TwinBook.Entry) => {
  if (entry._tag === "settled") throw new Error("disk full")
}

describe("TwinBook", () => {
  it.effect("moves money again for a key it has forgotten, as a real provider does", () =>
    Effect.gen(function* () {
      const { book } = yield* open()
      yield* book.charge(key, order("tok_visa"))
      yield* TestClock.adjust("23 hours")
      yield* book.charge(key, order("tok_visa"))
      assert.deepStrictEqual(
        (yield* book.captured).map(({ sends }) => sends),
        [2]
      )
      yield* TestClock.adjust("1 hour")
      yield* book.charge(key, order("tok_visa"))
      assert.deepStrictEqual(
        (yield* book.captured).map(({ sends }) => sends),
        [2, 1]
      )
      assert.strictEqual(new Set((yield* book.captured).map(({ id }) => id)).size, 2)
    })
  )

  it.effect("is the same book when it is made from what was written", () =>
    Effect.gen(function* () {
      const { book, written } = yield* open()
      yield* book.switch("tok_dead", true)
      yield* book.charge(key, order("tok_visa"))
      yield* book.charge(key, order("tok_visa"))
      yield* book.charge(`${key}0`, order("tok_busy"))
      yield* book.charge(`${key}1`, order("tok_declined"))
      const { book: again } = yield* open(written)
      assert.deepStrictEqual(yield* again.captured, yield* book.captured)
      assert.strictEqual((yield* again.charge(`${key}2`, order("tok_dead")))._tag, "Settled")
      assert.strictEqual((yield* again.charge(`${key}0`, order("tok_busy")))._tag, "Busy")
      assert.strictEqual((yield* again.charge(`${key}0`, order("tok_busy")))._tag, "Settled")
      assert.strictEqual((yield* again.charge(key, order("tok_timeout")))._tag, "KeyReused")
      assert.strictEqual((yield* again.find(`${key}1`))?.state, "declined")
    })
  )

  it.effect("goes on with what it began when its caller hangs up", () =>
    Effect.gen(function* () {
      const { book } = yield* open()
      const caller = yield* Effect.forkChild(book.charge(key, order("tok_slow")), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(caller)
      assert.deepStrictEqual(yield* book.captured, [])
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* book.captured).length, 1)
    })
  )

  it.effect("remembers a bounded number of keys, and refuses new ones rather than forget one", () =>
    Effect.gen(function* () {
      const { book } = yield* open()
      for (const last of [0, 1, 2, 3]) yield* book.charge(`${key}${last}`, order("tok_visa"))
      assert.strictEqual((yield* book.charge(`${key}4`, order("tok_visa")))._tag, "Busy")
      assert.strictEqual((yield* book.charge(`${key}0`, order("tok_visa")))._tag, "Settled")
      assert.strictEqual((yield* book.captured).length, 4)
    })
  )

  it.effect("tells nobody of what it could not write down", () =>
    Effect.gen(function* () {
      const book = yield* TwinBook.make({ ...bounds, entries: [], append: refuseToSettle })
      const exit = yield* Effect.exit(book.charge(key, order("tok_visa")))
      assert.strictEqual(exit._tag, "Failure")
      assert.deepStrictEqual(yield* book.captured, [])
      assert.isUndefined(yield* book.find(key))
    })
  )
})
