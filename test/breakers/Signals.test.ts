import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Metric } from "effect"
import { TestClock } from "effect/testing"

import { Breaker } from "../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const dependency = Dependency.make("psp", "http", { timeout: Duration.seconds(1) })
const classify: Dependency.Classify<string> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
const ask = Dependency.write(dependency, "ask", { classify })
const window = Duration.seconds(1)

/** Every count of breakers, by what its labels say. */
const counts = Effect.map(Metric.snapshot, (all) =>
  Object.fromEntries(
    all.flatMap(({ attributes, id, state, type }) =>
      type === "Counter" && id.startsWith("cribwork_breakers_")
        ? [[[id.slice("cribwork_breakers_".length), ...Object.values(attributes ?? {})].join(" "), state.count]]
        : []
    )
  )
)

describe("Signals", () => {
  it.effect("are as they are when the registry asks for them", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      const succeeds = breaker.write(ask, Effect.void)
      const fails = Effect.flip(breaker.write(ask, Effect.fail("down")))
      yield* succeeds
      assert.deepStrictEqual(yield* counts, { "calls_total psp success": 1 })
      yield* succeeds
      yield* fails
      yield* fails
      yield* Effect.flip(succeeds)
      yield* Effect.flip(succeeds)
      yield* TestClock.adjust(window)
      yield* succeeds
      assert.deepStrictEqual(yield* counts, {
        "calls_total psp success": 3,
        "calls_total psp failure": 2,
        "transitions_total psp closed open": 1,
        "refusals_total psp open": 2,
        "transitions_total psp open half-open": 1,
        "probes_total psp success": 1,
        "transitions_total psp half-open ramping": 1
      })
    }).pipe(
      Effect.provide(MemoryBreakers.layerWith({ failuresMax: 2, window, windowCap: window, fleet: 1 })),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  )

  it.effect("of a family are added up", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      for (const name of ["a.example", "b.example"]) {
        const host = { ...Dependency.make(name, "http", { timeout: Duration.seconds(1) }), family: "hooks" }
        yield* breaker.write(Dependency.write(host, "ask", { classify }), Effect.void)
      }
      assert.deepStrictEqual(yield* counts, { "calls_total hooks success": 2 })
    }).pipe(
      Effect.provide(MemoryBreakers.layerWith({ failuresMax: 2, window, windowCap: window, fleet: 1 })),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )
  )
})
