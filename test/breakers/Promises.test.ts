/** The promises that need many breakers, many seeds or many histories; the rest is in the suite and in the pure tests. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, Random, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"

import { Breaker, BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import type { Transition } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as OpenWindow from "../../src/domain/breakers/OpenWindow.ts"
import * as Terms from "../../src/domain/breakers/Terms.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const defaults = { failuresMax: 5, window: Duration.seconds(1), windowCap: Duration.seconds(30), fleet: 10 }
const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const byExit: Dependency.Classify<unknown> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
const write = <E = string>(dependency: Dependency.Dependency) =>
  Dependency.write<E>(dependency, "call", { classify: byExit })

const taking = (name: string, seconds: number) => Dependency.make(name, "http", { timeout: Duration.seconds(seconds) })

/** The most that lie within `span` of each other. */
const worst = (times: ReadonlyArray<number>, span: number) => {
  const sorted = times.toSorted((a, b) => a - b)
  let most = 0
  let from = 0
  for (let to = 0; to < sorted.length; to++) {
    while ((sorted[to] ?? 0) - (sorted[from] ?? 0) >= span) from++
    most = Math.max(most, to - from + 1)
  }
  return most
}

describe("1,000 breakers that open together", () => {
  const bounds = { windowMillis: 20_000, windowCapMillis: 60_000 }

  it("are allowed no shorter window than spreads them", () => {
    const policy = { timeout: Duration.seconds(1), fleet: 1000, windowCap: Duration.minutes(1) }
    const why = (window: Duration.Duration) => Terms.contradiction(Terms.resolve(defaults, { ...policy, window }))
    assert.isUndefined(why(Duration.millis(bounds.windowMillis)))
    assert.isString(why(Duration.millis(bounds.windowMillis - 1)))
  })

  it.effect("probe at most 20 at a time in any 100 ms, after the first opening and after the third", () =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 200; seed++) {
        for (const backoff of [0, 2]) {
          const low = OpenWindow.grown(bounds, backoff)
          const draw = Effect.map(Random.next, (chance) => OpenWindow.jittered(low, bounds, chance))
          const times = yield* Effect.all(Array.from({ length: 1000 }, () => draw)).pipe(
            Random.withSeed(`herd ${seed}`)
          )
          assert.isAtMost(worst(times, 100), 20, `seed ${seed}`)
        }
      }
    })
  )
})

describe("1,000 breakers of a process that open together", () => {
  const fleet = { ...defaults, fleet: 1000, window: Duration.seconds(20), windowCap: Duration.minutes(1) }

  it.effect("admit at most 20 probes in any 100 ms, after each of three openings", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      const policy = { timeout: Duration.seconds(1), trips: [{ _tag: "Consecutive", failures: 1 }] } as const
      const all = Array.from({ length: 1000 }, (_, n) => Dependency.make(`one-${n}`, "http", policy))
      const fail = (one: Dependency.Dependency) => Effect.ignore(breaker.write(write(one), Effect.fail("down")))
      for (let opening = 0; opening < 3; opening++) {
        yield* Effect.forEach(all, fail)
        const permits = yield* Effect.forEach(all, breaker.permits)
        const waits = permits.map(({ retryAfter }) => Duration.toMillis(retryAfter))
        assert.isAtLeast(Math.min(...waits), 20_000)
        assert.isAtMost(worst(waits, 100), 20)
        yield* TestClock.adjust("1 minute")
      }
    }).pipe(
      Random.withSeed("one process"),
      Effect.provide(Layer.merge(MemoryBreakers.layerWith(fleet), Logger.layer([])))
    )
  )
})

describe("a dependency that hangs", () => {
  it.effect("is left alone after its timeout, though some calls are answered", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      const slow = Dependency.make("slow", "http", { timeout: Duration.seconds(1) })
      const state = Effect.map(breaker.permits(slow), (permit) => permit.state)
      const step = Effect.fnUntraced(function* (n: number) {
        yield* Effect.forkChild(Effect.ignore(breaker.write(write(slow), Effect.never)), { startImmediately: true })
        // Never five failures in a row: an answer comes between.
        if (n % 4 === 3) yield* Effect.ignore(breaker.write(write(slow), Effect.void))
        yield* TestClock.adjust("10 millis")
      })
      for (let n = 0; n < 99; n++) yield* step(n)
      assert.strictEqual(yield* state, "closed")
      for (let n = 99; n < 160; n++) yield* step(n)
      assert.strictEqual(yield* state, "open")
    }).pipe(Effect.provide(MemoryBreakers.layerWith(defaults)))
  )
})

describe("a call within a call within a call", () => {
  it.effect.prop(
    "blames what hangs and nobody on the way to it, whatever the timeouts and whenever it was called",
    { timeouts: Schema.Tuple([between(1, 9), between(1, 9), between(1, 9)]), before: between(0, 3000) },
    ({ before, timeouts: [a, b, c] }) =>
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const [top, middle, bottom] = [taking("a", a), taking("b", b), taking("c", c)]
        const pause = Effect.sleep(Duration.millis(before))
        const hanging = breaker.write(write<never>(bottom), Effect.never)
        const ask = breaker.write(
          write<BreakerError>(top),
          Effect.andThen(pause, breaker.write(write<BreakerError>(middle), Effect.andThen(pause, hanging)))
        )
        // As many as open a breaker, each to its end.
        for (let n = 0; n < defaults.failuresMax; n++) {
          const asking = yield* Effect.forkChild(Effect.flip(ask), { startImmediately: true })
          yield* TestClock.adjust("10 seconds")
          const error = yield* Fiber.join(asking)
          assert(error instanceof BreakerError, String(error))
          // Where there is no time for the next, that is said, and not that the one above it was slow.
          const waited = error.reason._tag === "CallTimedOut"
          if (waited && error.dependency === "b") assert.isAtLeast(before, 1000 * b)
          if (waited && error.dependency === "a") assert.isAtLeast(2 * before, 1000 * a)
          assert.strictEqual(error.reason._tag === "DeadlineTooShort", !waited)
        }
        const states = yield* Effect.forEach([top, middle, bottom], breaker.permits)
        const opened = states.map(({ state }) => state === "open")
        const fits = a * 1000 - before > b * 1000 && b * 1000 - before > c * 1000
        assert.deepStrictEqual(opened[2], fits)
        if (fits) assert.deepStrictEqual(opened, [false, false, true])
      }).pipe(Effect.provide(MemoryBreakers.layerWith(defaults))),
    { arbitrary: { runs: 100 } }
  )
})

describe("breakers without calls", () => {
  it.effect("keep no timer, open or closed", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let sleeps = 0
      const counting: Clock.Clock = Object.create(clock, {
        sleep: { value: (duration: Duration.Duration) => (sleeps++, clock.sleep(duration)) }
      }) as Clock.Clock
      yield* Effect.gen(function* () {
        const breaker = yield* Breaker
        for (let n = 0; n < 50; n++) {
          const one = Dependency.make(`one-${n}`, "http", { timeout: Duration.seconds(1) })
          for (let call = 0; call < 5; call++) yield* Effect.ignore(breaker.write(write(one), Effect.fail("down")))
          assert.strictEqual((yield* breaker.permits(one)).state, "open")
        }
      }).pipe(Effect.provide(MemoryBreakers.layerWith(defaults)), Effect.provideService(Clock.Clock, counting))
      assert.strictEqual(sleeps, 0)
    })
  )
})

const event = Schema.Struct({
  kind: Schema.Literals(["call", "call", "settle", "interrupt", "wait", "force", "hint"]),
  fails: Schema.Boolean,
  which: between(0, 20),
  pause: between(0, 4000)
})
const edges = new Set([
  "closed open",
  "open half-open",
  "half-open open",
  "half-open ramping",
  "ramping open",
  "ramping closed",
  ...["closed", "open", "half-open", "ramping", "forced-closed"].map((from) => `${from} forced-open`),
  ...["closed", "open", "half-open", "ramping", "forced-open"].map((from) => `${from} forced-closed`),
  "forced-open open",
  "forced-open half-open",
  "forced-closed closed"
])

describe("any history of calls, answers, pauses and orders", () => {
  it.effect.prop(
    "takes legal steps only, each told once and in order, and frees every slot",
    { history: Schema.Array(event).check(Schema.isMaxLength(60)), seed: between(0, 1_000_000) },
    ({ history, seed }) =>
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const breakers = yield* Breakers
        const one = Dependency.make("one", "http", {
          timeout: Duration.seconds(2),
          trips: [
            { _tag: "Consecutive", failures: 2 },
            { _tag: "CountWindow", calls: 6, callsMin: 4, failureRate: 0.5 }
          ],
          windowCap: Duration.seconds(4),
          ramp: { over: Duration.seconds(3), floor: 2 }
        })
        const told: Array<Transition> = []
        yield* Effect.forkChild(
          Stream.runForEach(breakers.changes, (one) => Effect.sync(() => told.push(one))),
          { startImmediately: true }
        )
        yield* breakers.declare(one)
        let running: Array<{
          readonly fiber: Fiber.Fiber<unknown, unknown>
          readonly gate: Deferred.Deferred<void, string>
        }> = []
        for (const { fails, kind, pause, which } of history) {
          const [picked] = running.slice(which % Math.max(1, running.length))
          if (kind === "wait") yield* TestClock.adjust(Duration.millis(pause))
          else if (kind === "hint") yield* breakers.hint("one", Duration.millis(pause))
          else if (kind === "force") {
            const now = yield* Clock.currentTimeMillis
            const until = DateTime.makeUnsafe(now + pause)
            yield* breakers.force("one", which % 3 === 0 ? undefined : { to: fails ? "open" : "closed", until })
          } else if (kind === "call") {
            const gate = yield* Deferred.make<void, string>()
            const fiber = yield* Effect.forkChild(Effect.exit(breaker.write(write(one), Deferred.await(gate))), {
              startImmediately: true
            })
            running.push({ fiber, gate })
          } else if (picked !== undefined) {
            if (kind === "interrupt") yield* Fiber.interrupt(picked.fiber)
            else if (fails) yield* Deferred.fail(picked.gate, "down")
            else yield* Deferred.succeed(picked.gate, undefined)
            yield* Effect.yieldNow
          }
          running = running.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
          const [snapshot] = yield* breakers.snapshots
          assert.strictEqual(snapshot?.inFlight, running.length)
        }
        yield* Effect.forEach(running, ({ fiber }) => Fiber.interrupt(fiber))
        yield* Effect.yieldNow
        const [{ inFlight, state } = { inFlight: -1, state: "none" }] = yield* breakers.snapshots
        assert.strictEqual(inFlight, 0)
        yield* Effect.yieldNow
        let at = "closed"
        for (const { from, to } of told) {
          assert.isTrue(edges.has(`${from} ${to}`), `${from} ${to}`)
          assert.strictEqual(from, at)
          at = to
        }
        assert.strictEqual(at, state)
      }).pipe(Effect.scoped, Random.withSeed(seed), Effect.provide(MemoryBreakers.layerWith(defaults))),
    { arbitrary: { runs: 60 } }
  )
})
