import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Layer, Logger, Stream } from "effect"
import { TestClock } from "effect/testing"

import { BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import { EventBus, EventBusError, Rejected, Retriable, TopicDrifted } from "../../src/domain/events/EventBus.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as GuardedEventBus from "../../src/layers/events/GuardedEventBus.ts"
import * as MemoryEventBus from "../../src/layers/events/MemoryEventBus.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { eventBusSuite, record, suitePartitions } from "./EventBus.suite.ts"

const ground = Layer.fresh(MemoryBreakers.layer).pipe(
  Layer.provideMerge(Layer.fresh(Settings.layer)),
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({}))),
  Layer.provide(Logger.layer([]))
)

const guarded = <E, R>(bus: Layer.Layer<EventBus, E, R>) =>
  Layer.fresh(GuardedEventBus.layer).pipe(Layer.provide(bus), Layer.provideMerge(ground))

eventBusSuite("guarded", guarded(MemoryEventBus.layerWith({ partitions: suitePartitions })))

const one = record("t", "k")

/** A bus that always comes to this. */
const busThat = (publish: Effect.Effect<void, EventBusError>) =>
  Layer.succeed(EventBus, EventBus.of({ publish: () => publish, read: () => Stream.empty }))

const publish = EventBus.use((bus) => bus.publish([one]))
const state = Effect.flatMap(Breakers, (breakers) => Effect.map(breakers.snapshots, ([kafka]) => kafka?.state))
const away = new EventBusError({ reason: new Retriable({ cause: new Error("gone") }) })

describe("GuardedEventBus", () => {
  it.effect("refuses at once, as a Kafka that is away, after it was away again and again, and begins no read", () =>
    Effect.gen(function* () {
      for (let count = 0; count < 5; count++) assert.strictEqual(yield* Effect.flip(publish), away)
      assert.strictEqual(yield* state, "open")
      const { reason } = yield* Effect.flip(publish)
      assert(reason._tag === "Retriable" && reason.cause instanceof BreakerError)
      assert.deepStrictEqual([reason.cause.dependency, reason.cause.reason._tag], ["kafka", "CircuitOpen"])
      const read = yield* EventBus.use((bus) => Effect.flip(Stream.runDrain(bus.read("t", "latest"))))
      assert.strictEqual(read.reason._tag, "Retriable")
      yield* TestClock.adjust("1 second")
      yield* EventBus.use((bus) => Stream.runDrain(bus.read("t", "latest")))
      assert.strictEqual(yield* Effect.flip(publish), away)
    }).pipe(Effect.provide(guarded(busThat(Effect.fail(away)))))
  )

  for (const reason of [
    new Rejected({ refusals: [{ record: one, why: "too large" }] }),
    new TopicDrifted({ topic: "t", expected: 4, found: 5 })
  ]) {
    it.effect(`takes ${reason._tag} for a sign of life`, () =>
      Effect.gen(function* () {
        for (let count = 0; count < 30; count++) yield* Effect.flip(publish)
        assert.strictEqual(yield* state, "closed")
      }).pipe(Effect.provide(guarded(busThat(Effect.fail(new EventBusError({ reason }))))))
    )
  }

  it.effect("gives up a publish that hangs, and counts it", () =>
    Effect.gen(function* () {
      const hanging = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 5 }), () => Effect.flip(publish), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("30 seconds")
      for (const { reason } of yield* Fiber.join(hanging)) {
        assert(reason._tag === "Retriable" && reason.cause instanceof BreakerError)
        assert.strictEqual(reason.cause.reason._tag, "CallTimedOut")
      }
      assert.strictEqual(yield* state, "open")
    }).pipe(Effect.provide(guarded(busThat(Effect.never))))
  )
})
