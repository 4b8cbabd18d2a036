import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Layer } from "effect"

import { Breaker } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { breakerSuite } from "./Breaker.suite.ts"

const set = (environment: Record<string, string>) =>
  MemoryBreakers.layer.pipe(
    Layer.provide(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(environment)))
  )

const aside = { failuresMax: 1000, window: Duration.hours(1), windowCap: Duration.hours(2), fleet: 10 }

breakerSuite("memory", MemoryBreakers.layerWith(aside))

const plain = Dependency.make("plain", "http", { timeout: Duration.seconds(1), ramp: "none" })
const failing = Effect.flatMap(Breaker, (breaker) =>
  breaker.write(Dependency.write<never>(plain, "call", { classify: () => ({ _tag: "Failure" }) }), Effect.void)
)

describe("MemoryBreakers", () => {
  it.effect("opens as the settings say where the dependency says nothing", () =>
    Effect.gen(function* () {
      for (let n = 0; n < 7; n++) yield* failing
      const { reason } = yield* Effect.flip(failing)
      assert(reason._tag === "CircuitOpen")
      const wait = Duration.toMillis(reason.retryAfter)
      assert.isTrue(wait >= 3000 && wait <= 5000, `${wait} ms`)
    }).pipe(
      Effect.provide(set({ BREAKER_FAILURES: "7", BREAKER_WINDOW: "3 seconds", BREAKER_WINDOW_CAP: "5 seconds" }))
    )
  )

  it.effect("refuses at boot a window that is longer than the longest", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(
        Layer.build(MemoryBreakers.layerWith({ ...aside, windowCap: Duration.minutes(1) }))
      )
      assert.strictEqual(refused._tag, "PolicyRefused")
      assert.include(refused.message, "(60000 ms) is below the first (3600000 ms)")
    })
  )

  it.effect("calls a policy that contradicts the settings a bug", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      const wrong = Dependency.make("wrong", "http", { timeout: Duration.seconds(1), window: Duration.minutes(1) })
      assert.isTrue(Exit.hasDies(yield* Effect.exit(breaker.permits(wrong))))
    }).pipe(Effect.provide(set({})))
  )

  it.effect("remembers a bounded number of dependencies, and the open ones longest", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      for (let n = 0; n < 5; n++) yield* failing
      for (let n = 0; n < 1500; n++) yield* breaker.permits(Dependency.make(`made-${n}`, "http", plain.policy))
      yield* Effect.flip(failing)
      assert.strictEqual((yield* (yield* Breakers).snapshots).length, 1000)
    }).pipe(Effect.provide(set({})))
  )
})
