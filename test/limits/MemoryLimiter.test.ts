import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Metric } from "effect"
import { TestClock } from "effect/testing"

import { Limiter } from "../../src/domain/limits/Limiter.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"
import { limiterSuite } from "./Limiter.suite.ts"
import { askOf, Model, policy, Steps, toMicros } from "./Model.ts"

limiterSuite("memory", MemoryLimiter.layer, TestClock.adjust)

describe("MemoryLimiter", () => {
  it.effect.prop(
    "answers every history of asks as the pure model does",
    { steps: Steps },
    ({ steps }) =>
      Effect.gen(function* () {
        const limiter = yield* Limiter
        const model = new Model()
        let now = 0
        for (const step of steps) {
          yield* TestClock.adjust(Duration.micros(BigInt(step.pauseMicros)))
          now += step.pauseMicros
          const ask = askOf(step)
          model.expect(ask, yield* Effect.exit(step.peek ? limiter.peek(ask) : limiter.take(ask)), now, step.peek)
        }
      }).pipe(Effect.provide(Layer.fresh(MemoryLimiter.layer))),
    { arbitrary: { runs: 200 } }
  )

  it.effect("admits at the instant it named, and not a microsecond earlier", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const ask = { keys: [{ policy: policy("p", 1, 1_000_003), key: ["t"] }], cost: 1 } as const
      yield* TestClock.adjust(Duration.micros(17n))
      yield* limiter.take(ask)
      yield* TestClock.adjust(Duration.micros(5n))
      const { reason } = yield* Effect.flip(limiter.take(ask))
      assert(reason._tag === "RateLimited")
      assert.strictEqual(toMicros(reason.retryAfter), 999_998)
      yield* TestClock.adjust(Duration.micros(999_997n))
      yield* Effect.flip(limiter.take(ask))
      yield* TestClock.adjust(Duration.micros(1n))
      yield* limiter.take(ask)
    }).pipe(Effect.provide(MemoryLimiter.layer))
  )

  it.effect("counts what it decided by verdict and source, and refusals by policy", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const ask = { keys: [{ policy: policy("counted", 1, 1000), key: ["t"] }], cost: 1 } as const
      yield* limiter.take(ask)
      yield* Effect.flip(limiter.take(ask))
      yield* Effect.flip(limiter.peek(ask))
      const counts = (yield* Metric.snapshot).map(({ id, attributes, state }) => [id, attributes, state])
      const counted = (id: string, attributes: Record<string, string>, count: number) =>
        assert.deepInclude(counts, [id, attributes, { count, incremental: true }])
      counted("cribwork_limits_decisions_total", { verdict: "admitted", source: "memory" }, 1)
      counted("cribwork_limits_decisions_total", { verdict: "denied", source: "memory" }, 2)
      counted("cribwork_limits_refusals_total", { policy: "counted" }, 2)
    }).pipe(Effect.provide(MemoryLimiter.layer), Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
