import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"

import { Charges } from "../../src/domain/payments/Charges.ts"
import { IdempotencyStore } from "../../src/domain/payments/IdempotencyStore.ts"
import * as Reaper from "../../src/layers/payments/Reaper.ts"
import { accepted, captured, claimed, intent } from "./intents.ts"
import { memory } from "./stacks.ts"

it.effect("expired keys go by themselves, open ones stay", () =>
  Effect.gen(function* () {
    const keys = yield* IdempotencyStore
    const [settled, open] = [intent(), intent()]
    yield* accepted(settled)
    yield* (yield* Charges).settle(captured(yield* claimed(settled.tenant)))
    yield* accepted(open)
    yield* TestClock.adjust("23 hours")
    assert.strictEqual((yield* keys.inspect(settled.tenant, settled.key)).state, "succeeded")
    yield* TestClock.adjust("62 minutes")
    assert.strictEqual((yield* Effect.flip(keys.inspect(settled.tenant, settled.key)))._tag, "NoSuchKey")
    assert.strictEqual((yield* keys.inspect(open.tenant, open.key)).state, "accepted")
  }).pipe(Effect.provide(Reaper.layer.pipe(Layer.provideMerge(memory))))
)
