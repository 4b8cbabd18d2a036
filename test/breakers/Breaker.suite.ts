import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Random } from "effect"
import type { Layer } from "effect"
import { TestClock } from "effect/testing"

import { Breaker } from "../../src/domain/breakers/Breaker.ts"
import type { Dependency } from "../../src/domain/breakers/Breaker.ts"
import type { Outcome } from "../../src/domain/breakers/Circuit.ts"

const psp: Dependency = {
  name: "psp",
  policy: {
    failuresMax: 2,
    window: Duration.seconds(1),
    windowCap: Duration.seconds(30),
    probeLease: Duration.seconds(10)
  }
}

const byExit = (exit: Exit.Exit<unknown, unknown>): Outcome =>
  Exit.isSuccess(exit) ? { _tag: "Success" } : { _tag: "Failure" }

const call = <A, E>(effect: Effect.Effect<A, E>, dependency = psp) =>
  Effect.flatMap(Breaker, (breaker) => breaker.call(dependency, byExit, effect))

const trip = Effect.repeat(Effect.ignore(call(Effect.fail("down"))), { times: 1 })
const state = Effect.map(
  Effect.flatMap(Breaker, (breaker) => breaker.permits(psp)),
  ({ state }) => state
)
/** Long enough for every first window, short enough for none of the second. */
const afterWindow = TestClock.adjust("2 seconds")

const promises =
  (layer: Layer.Layer<Breaker, Error>) =>
  <E>(title: string, body: Effect.Effect<void, E, Breaker>) =>
    it.effect(title, () => body.pipe(Random.withSeed("breakers"), Effect.provide(layer)))

/** What every `Breaker` promises. An adapter that passes may stand in for any other. */
export const breakerSuite = (name: string, layer: Layer.Layer<Breaker, Error>) =>
  describe(`Breaker (${name})`, () => {
    const promise = promises(layer)

    promise(
      "refuses at once, without calling, and says when to come back",
      Effect.gen(function* () {
        yield* trip
        let called = 0
        const ask = call(Effect.sync(() => called++))
        const refused = yield* Effect.flip(ask)
        assert.strictEqual(refused._tag, "CircuitOpen")
        assert.strictEqual(refused.dependency, "psp")
        const wait = Duration.toMillis(refused.retryAfter)
        assert.isTrue(wait >= 1000 && wait <= 2000, `${wait} ms`)
        yield* TestClock.adjust(Duration.millis(wait - 1))
        yield* Effect.flip(ask)
        assert.strictEqual(called, 0)
        yield* TestClock.adjust("1 millis")
        yield* ask
        assert.strictEqual(called, 1)
      })
    )

    promise(
      "lets one of a hundred callers probe, and refuses the rest at once",
      Effect.gen(function* () {
        yield* trip
        yield* afterWindow
        const gate = yield* Deferred.make<void>()
        let called = 0
        const one = call(
          Effect.andThen(
            Effect.sync(() => called++),
            Deferred.await(gate)
          )
        )
        const all = yield* Effect.forEach(Array.from({ length: 100 }), () =>
          Effect.forkChild(Effect.exit(one), { startImmediately: true })
        )
        yield* Effect.yieldNow
        assert.strictEqual(called, 1)
        assert.strictEqual(all.filter((fiber) => fiber.pollUnsafe() !== undefined).length, 99)
        yield* Deferred.succeed(gate, undefined)
        const exits = yield* Effect.forEach(all, Fiber.join)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "is not moved by an answer from before it opened, good or bad",
      Effect.gen(function* () {
        const [good, bad, late] = [
          yield* Deferred.make<void, string>(),
          yield* Deferred.make<void, string>(),
          yield* Deferred.make<void, string>()
        ]
        const hanging = yield* Effect.forEach([good, bad, late], (one) =>
          Effect.forkChild(Effect.exit(call(Deferred.await(one))), { startImmediately: true })
        )
        yield* trip
        yield* afterWindow
        const probe = yield* Deferred.make<void>()
        const probing = yield* Effect.forkChild(call(Deferred.await(probe)), { startImmediately: true })
        assert.strictEqual(yield* state, "half-open")
        yield* Deferred.succeed(good, undefined)
        yield* Deferred.fail(bad, "late")
        yield* Effect.yieldNow
        assert.strictEqual(yield* state, "half-open")
        yield* Deferred.succeed(probe, undefined)
        yield* Fiber.join(probing)
        yield* Effect.ignore(call(Effect.fail("one of two")))
        yield* Deferred.fail(late, "from another age")
        yield* Effect.forEach(hanging, Fiber.await)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "counts an interrupted call as nothing and frees its slot",
      Effect.gen(function* () {
        for (let n = 0; n < 5; n++) {
          const fiber = yield* Effect.forkChild(call(Effect.never), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
        }
        assert.strictEqual(yield* state, "closed")
        yield* trip
        yield* afterWindow
        const probe = yield* Effect.forkChild(call(Effect.never), { startImmediately: true })
        yield* Effect.flip(call(Effect.void))
        yield* Fiber.interrupt(probe)
        yield* call(Effect.void)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "gives up a probe that hangs when its lease ends",
      Effect.gen(function* () {
        yield* trip
        yield* afterWindow
        const hung = yield* Effect.forkChild(call(Effect.never), { startImmediately: true })
        yield* TestClock.adjust("9999 millis")
        yield* Effect.flip(call(Effect.void))
        yield* TestClock.adjust("1 millis")
        yield* call(Effect.void)
        assert.strictEqual(yield* state, "closed")
        yield* Fiber.interrupt(hung)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "waits longer after each failed probe",
      Effect.gen(function* () {
        yield* trip
        for (const base of [1000, 2000, 4000, 8000, 15_000, 15_000]) {
          const { retryAfter } = yield* Effect.flatMap(Breaker, (breaker) => breaker.permits(psp))
          const wait = Duration.toMillis(retryAfter)
          assert.isTrue(wait >= base && wait <= 2 * base, `${wait} ms of ${base}`)
          yield* TestClock.adjust(retryAfter)
          assert.strictEqual(yield* Effect.flip(call(Effect.fail("still down"))), "still down")
        }
      })
    )

    promise(
      "tells whether a call would run without spending the probe",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const asked = breaker.permits(psp)
        assert.deepStrictEqual(yield* asked, { state: "closed", admits: true, retryAfter: Duration.zero })
        yield* trip
        assert.isFalse((yield* asked).admits)
        yield* afterWindow
        for (let n = 0; n < 3; n++) assert.isTrue((yield* asked).admits)
        yield* call(Effect.void)
      })
    )

    promise(
      "lets the classifier decide, defects included, and survives one that throws",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const fine = breaker.call(psp, () => ({ _tag: "Success" }) as const, Effect.fail("my own mistake"))
        for (let n = 0; n < 5; n++) yield* Effect.flip(fine)
        assert.strictEqual(yield* state, "closed")
        yield* Effect.exit(call(Effect.die("bug")))
        yield* Effect.exit(call(Effect.die("bug")))
        assert.strictEqual(yield* state, "open")
        yield* afterWindow
        const broken = breaker.call(
          psp,
          () => {
            throw new Error("classifier")
          },
          Effect.void
        )
        assert.isTrue(Exit.hasDies(yield* Effect.exit(broken)))
        yield* call(Effect.void)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "opens for the dependency that fails and for no other",
      Effect.gen(function* () {
        yield* trip
        yield* Effect.flip(call(Effect.void))
        yield* call(Effect.void, { ...psp, name: "redis" })
      })
    )
  })
