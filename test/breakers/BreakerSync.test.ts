import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Logger, Random } from "effect"
import { TestClock } from "effect/testing"

import { Breaker } from "../../src/domain/breakers/Breaker.ts"
import { BreakerReports } from "../../src/domain/breakers/BreakerReports.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import { ForcedStates } from "../../src/domain/breakers/ForcedStates.ts"
import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import * as BreakerSync from "../../src/layers/breakers/BreakerSync.ts"
import * as MemoryBreakerReports from "../../src/layers/breakers/MemoryBreakerReports.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as MemoryForcedStates from "../../src/layers/breakers/MemoryForcedStates.ts"
import { CurrentProgram } from "../../src/layers/platform/CurrentProgram.ts"
import { settings } from "../Postgres.ts"
import { deafToLeaving, type Health, Switch, switched } from "./Faults.ts"
import { order } from "./ForcedStates.suite.ts"

const psp = Dependency.make("psp", "http", { timeout: Duration.seconds(1) })

const kept = Layer.merge(
  switched(MemoryForcedStates.layer.pipe(Layer.provide(MemoryAuditLog.layer))),
  MemoryBreakerReports.layer
)

/** What is kept, and the breakers of a process that has not begun to obey. */
const ground = Layer.merge(Layer.fresh(kept), Layer.fresh(MemoryBreakers.layer).pipe(Layer.provide(settings))).pipe(
  Layer.provide(Logger.layer([]))
)

/** From here on until the end of the scope it does. */
const obeys = Layer.build(Layer.fresh(BreakerSync.layer)).pipe(Effect.provideService(CurrentProgram, "worker"))

const state = Effect.flatMap(Breaker, (breaker) => Effect.map(breaker.permits(psp), ({ state }) => state))
const forcing = (lasting: Duration.Input = "10 minutes") =>
  Effect.flatMap(ForcedStates, (states) => Effect.flatMap(order({ dependency: "psp" }, lasting), states.force))
const lifting = Effect.flatMap(ForcedStates, (states) => states.lift({ dependency: "psp", reason: "x", by: "y" }))
const set = (health: Health) => Effect.flatMap(Switch, (set) => set(health))

const declared = Effect.flatMap(Breakers, (breakers) => breakers.declare(psp))
const living = Effect.flatMap(BreakerReports, (reports) => reports.living)

/** Two seconds, less the instant in which one asks. */
const obeyedWithin = "2 seconds"

describe("BreakerSync", () => {
  it.effect("an order is obeyed within two seconds, and so is its lifting, whenever they come", () =>
    Effect.gen(function* () {
      yield* obeys
      for (let turn = 0; turn < 30; turn++) {
        yield* TestClock.adjust(Duration.millis(yield* Random.nextIntBetween(0, 1500)))
        yield* forcing()
        yield* TestClock.adjust(obeyedWithin)
        assert.strictEqual(yield* state, "forced-open")
        yield* lifting
        yield* TestClock.adjust(obeyedWithin)
        assert.notStrictEqual(yield* state, "forced-open")
      }
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("orders are known before anything begins, and survive a restart", () =>
    Effect.gen(function* () {
      yield* forcing()
      for (let start = 0; start < 2; start++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* obeys
            assert.strictEqual(yield* state, "forced-open")
          }).pipe(Effect.provide(Layer.fresh(MemoryBreakers.layer).pipe(Layer.provide(settings))))
        )
      }
    }).pipe(Effect.provide(ground))
  )

  it.effect("while orders cannot be read the last known ones are obeyed until they end", () =>
    Effect.gen(function* () {
      yield* obeys
      for (const away of ["fails", "hangs"] as const) {
        yield* forcing("10 minutes")
        yield* TestClock.adjust(obeyedWithin)
        yield* set(away)
        yield* TestClock.adjust("9 minutes")
        assert.strictEqual(yield* state, "forced-open")
        yield* TestClock.adjust("1 minute")
        assert.notStrictEqual(yield* state, "forced-open")
        yield* set("works")
        yield* TestClock.adjust(obeyedWithin)
        yield* forcing("1 hour")
        yield* TestClock.adjust(obeyedWithin)
        assert.strictEqual(yield* state, "forced-open")
        yield* lifting
        yield* TestClock.adjust(obeyedWithin)
      }
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("a store that is away or hangs does not keep a process from starting", () =>
    Effect.gen(function* () {
      yield* forcing()
      for (const away of ["fails", "hangs"] as const) {
        yield* set(away)
        const started = yield* Effect.forkChild(Effect.scoped(Effect.andThen(obeys, Effect.void)))
        yield* TestClock.adjust("1 second")
        assert.isDefined(started.pollUnsafe(), away)
        yield* Fiber.join(started)
      }
    }).pipe(Effect.provide(ground))
  )

  it.effect("an order that is obeyed is given once, however long each look takes", () =>
    Effect.gen(function* () {
      const given: Array<string> = []
      const counting = Layer.effect(
        Breakers,
        Effect.map(Breakers, (breakers) =>
          Breakers.of({
            ...breakers,
            force: (name, to) =>
              Effect.andThen(
                Effect.sync(() => given.push(name)),
                breakers.force(name, to)
              )
          })
        )
      )
      yield* set("lags")
      yield* Effect.forkScoped(Effect.provide(obeys, counting))
      yield* Effect.forkScoped(forcing())
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* state, "forced-open")
      assert.deepStrictEqual(given, ["psp"])
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("a longer order takes the place of the one that is obeyed", () =>
    Effect.gen(function* () {
      yield* obeys
      yield* forcing("1 minute")
      yield* TestClock.adjust(obeyedWithin)
      yield* forcing("1 hour")
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(yield* state, "forced-open")
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("an order ends in time also where the clock of the process is an hour slow", () =>
    Effect.gen(function* () {
      const ahead = Layer.effect(
        ForcedStates,
        Effect.map(ForcedStates, (states) =>
          ForcedStates.of({
            ...states,
            active: Effect.map(states.active, (all) =>
              all.map(({ until, ...one }) => ({ ...one, until: DateTime.add(until, { hours: 1 }) }))
            )
          })
        )
      )
      yield* Effect.provide(obeys, ahead)
      yield* forcing("10 minutes")
      yield* TestClock.adjust("9 minutes")
      assert.strictEqual(yield* state, "forced-open")
      yield* set("fails")
      yield* TestClock.adjust("70 seconds")
      assert.notStrictEqual(yield* state, "forced-open")
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("tells of its breakers soon after a change, and goes on telling while nothing changes", () =>
    Effect.gen(function* () {
      yield* declared
      yield* obeys
      yield* TestClock.adjust("1 second")
      const [first] = yield* living
      assert.deepInclude(first, { dependency: "psp", program: "worker", state: "closed" })
      yield* Effect.flatMap(Breakers, (breakers) =>
        Effect.flatMap(order({}, "1 hour"), ({ until }) => breakers.force("psp", { to: "closed", until }))
      )
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* living)[0]?.state, "forced-closed")
      for (let beat = 0; beat < 20; beat++) {
        yield* TestClock.adjust("3 seconds")
        assert.isBelow(Duration.toMillis((yield* living)[0]?.seenAgo ?? Duration.infinity), 4000)
      }
    }).pipe(Effect.scoped, Effect.provide(ground))
  )

  it.effect("says when it ends; started again it is another process", () =>
    Effect.gen(function* () {
      yield* declared
      const named = Effect.scoped(
        Effect.gen(function* () {
          yield* obeys
          yield* TestClock.adjust("1 second")
          const all = yield* living
          assert.lengthOf(all, 1)
          return all[0]?.process
        })
      )
      const first = yield* named
      assert.deepStrictEqual(yield* living, [])
      assert.notStrictEqual(yield* named, first)
    }).pipe(Effect.provide(ground))
  )

  it.effect("does not wait long for a store that does not hear it end", () =>
    Effect.gen(function* () {
      const deaf = deafToLeaving(MemoryBreakerReports.layer)
      const stopped = yield* Effect.forkChild(Effect.scoped(Effect.provide(obeys, deaf)))
      yield* TestClock.adjust("1 second")
      assert.isDefined(stopped.pollUnsafe())
      yield* Fiber.join(stopped)
    }).pipe(Effect.provide(ground))
  )
})
