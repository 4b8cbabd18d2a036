import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Layer } from "effect"
import { TestClock } from "effect/testing"

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
const made = (name: string) => Dependency.make(name, "http", plain.policy)
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
      for (let n = 0; n < 1500; n++) yield* breaker.permits(made(`made-${n}`))
      yield* Effect.flip(failing)
      assert.strictEqual((yield* (yield* Breakers).snapshots).length, 1000)
    }).pipe(Effect.provide(set({})))
  )

  it.effect("forgets what nobody calls before what is called, and before what is running", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      const call = <A>(name: string, effect: Effect.Effect<A>) =>
        breaker.write(Dependency.write<never>(made(name), "call", { classify: () => ({ _tag: "Success" }) }), effect)
      yield* Effect.forkChild(call("running", Effect.never), { startImmediately: true })
      yield* breaker.permits(made("idle"))
      for (let n = 0; n < 3000; n++) {
        yield* breaker.permits(made(`made-${n}`))
        if (n % 500 === 0) yield* call("called", Effect.void)
      }
      const known = (yield* (yield* Breakers).snapshots).map(({ dependency }) => dependency)
      assert.includeMembers(known, ["running", "called", "made-2999"])
      assert.notInclude(known, "idle")
      assert.lengthOf(known, 1000)
    }).pipe(Effect.provide(set({})))
  )

  it.effect("tells for how long a breaker has been as it is, from its first moment on", () =>
    Effect.gen(function* () {
      const since = Effect.map((yield* Breakers).snapshots, ([one]) => Duration.toMillis(one?.since ?? 0))
      yield* TestClock.adjust("1 minute")
      yield* (yield* Breakers).declare(plain)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* since, 3000)
      for (let n = 0; n < 5; n++) yield* failing
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* since, 100)
    }).pipe(Effect.provide(set({})))
  )
})
