import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"

import { Breaker, BreakerError, BulkheadFull } from "../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as ScriptedBreakers from "../../src/layers/breakers/ScriptedBreakers.ts"
import { breakerSuite } from "./Breaker.suite.ts"

const defaults = { failuresMax: 2, window: Duration.seconds(1), windowCap: Duration.seconds(30), fleet: 10 }

breakerSuite("scripted", ScriptedBreakers.layerWith({ ...defaults, failuresMax: 1000 }))

const shop = Dependency.make("shop", "http", { timeout: Duration.seconds(5) })
const classify: Dependency.Classify<string> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
const buying = Dependency.write<string>(shop, "buy", { classify })
const buy = Effect.flatMap(Breaker, (breaker) => breaker.write(buying, Effect.succeed("bought")))
const full = { _tag: "Refused", reason: new BulkheadFull({ inFlightMax: 1 }) } as const

describe("ScriptedBreakers", () => {
  it.effect("refuse the next calls as written, in order, and then let them run", () =>
    Effect.gen(function* () {
      const script = yield* ScriptedBreakers.BreakerScript
      yield* script.next("shop", 3, full)
      yield* script.next("shop", 1, { _tag: "Hung" })
      for (let n = 0; n < 3; n++) {
        const error = yield* Effect.flip(buy)
        assert(error instanceof BreakerError)
        assert.deepStrictEqual([error.path, error.operation, error.reason._tag], [["shop"], "buy", "BulkheadFull"])
      }
      const hung = yield* Effect.forkChild(Effect.flip(buy), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      const timedOut = yield* Fiber.join(hung)
      assert(timedOut instanceof BreakerError && timedOut.reason._tag === "CallTimedOut")
      assert.strictEqual(yield* buy, "bought")
      assert.deepStrictEqual(
        (yield* script.calls).map(({ fate, kind }) => `${kind} ${fate}`),
        ["write refused", "write refused", "write refused", "write hung", "write ran"]
      )
    }).pipe(Effect.provide(ScriptedBreakers.layerWith(defaults)))
  )

  it.effect("hold a breaker in a state; a call that it refuses reads no line of the script", () =>
    Effect.gen(function* () {
      const script = yield* ScriptedBreakers.BreakerScript
      yield* script.next("shop", 1, full)
      yield* script.hold("shop", "open")
      const refused = yield* Effect.flip(buy)
      assert(refused instanceof BreakerError && refused.reason._tag === "CircuitOpen")
      assert.strictEqual(refused.reason.state, "forced-open")
      assert.deepStrictEqual(yield* script.calls, [])
      yield* script.hold("shop", "closed")
      const scripted = yield* Effect.flip(buy)
      assert(scripted instanceof BreakerError && scripted.reason._tag === "BulkheadFull")
      assert.strictEqual(yield* buy, "bought")
      yield* script.hold("shop", undefined)
      assert.strictEqual((yield* Effect.flatMap(Breaker, (breaker) => breaker.permits(shop))).state, "closed")
    }).pipe(Effect.provide(ScriptedBreakers.layerWith(defaults)))
  )
})
