import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"

import { Limiter } from "../../src/domain/limits/Limiter.ts"
import { AddressBook } from "../../src/layers/http/AddressBook.ts"
import * as FailureBudget from "../../src/layers/http/FailureBudget.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"

const address = "203.0.113.7"

describe("FailureBudget", () => {
  it.effect("is one budget for all processes, and asks before a stranger's key is looked at", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const here = FailureBudget.make(limiter, 2)
      const there = FailureBudget.make(limiter, 2)
      yield* here.charge(address, 0)
      yield* there.inquire(address, 0)
      yield* here.charge(address, 0)
      assert.strictEqual(there.standing(address, 0), "unknown")
      const refusal = yield* Effect.flip(there.inquire(address, 0))
      assert.strictEqual(refusal.retry_after_ms, 60_000)
      assert.deepStrictEqual(there.standing(address, 20_000), { refusedMillis: 40_000 })
    }).pipe(Effect.provide(Layer.fresh(MemoryLimiter.layer)))
  )

  it.effect("closes the door with the last failure, and opens it when one may be made again", () =>
    Effect.gen(function* () {
      const budget = FailureBudget.make(yield* Limiter, 2)
      yield* budget.charge(address, 0)
      assert.strictEqual(budget.standing(address, 0), "unknown")
      yield* budget.charge(address, 0)
      assert.deepStrictEqual(budget.standing(address, 0), { refusedMillis: 60_000 })
      assert.strictEqual(budget.standing(address, 60_000), "unknown")
      yield* TestClock.adjust("60 seconds")
      yield* budget.inquire(address, 60_000)
    }).pipe(Effect.provide(Layer.fresh(MemoryLimiter.layer)))
  )

  it.effect("says of a failure above it when the address may try again", () =>
    Effect.gen(function* () {
      const budget = FailureBudget.make(yield* Limiter, 1)
      yield* budget.charge(address, 0)
      yield* TestClock.adjust("15 seconds")
      const refusal = yield* Effect.flip(budget.charge(address, 15_000))
      assert.strictEqual(refusal.retry_after_ms, 45_000)
      assert.deepStrictEqual(refusal.violated_policies, ["failed-authentication"])
    }).pipe(Effect.provide(Layer.fresh(MemoryLimiter.layer)))
  )
})

describe("AddressBook", () => {
  it("believes a good key's address for a minute", () => {
    const book = new AddressBook()
    assert.strictEqual(book.standing(address, 0), "unknown")
    book.trust(address, 0)
    assert.strictEqual(book.standing(address, 59_999), "trusted")
    assert.strictEqual(book.standing(address, 60_000), "unknown")
  })

  it("forgets the address it learned first when it is full, and no other", () => {
    const book = new AddressBook()
    for (let one = 0; one <= 65_536; one++) book.trust(String(one), 0)
    assert.strictEqual(book.standing("0", 1), "unknown")
    assert.strictEqual(book.standing("1", 1), "trusted")
    assert.strictEqual(book.standing("65536", 1), "trusted")
  })
})
