/** What the relay promises over any outbox and any bus. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Deferred, Duration, Effect, Layer, Logger, Ref, Result, Scope, Exit, Stream } from "effect"

import { type BusRecord, toRecord } from "../../src/domain/events/Envelope.ts"
import { EventBus, recordBytesMax } from "../../src/domain/events/EventBus.ts"
import { EventOutbox } from "../../src/domain/events/EventOutbox.ts"
import * as OutboxRelay from "../../src/layers/events/OutboxRelay.ts"
import { topicOf } from "./EventBus.suite.ts"
import { event, suiteBounds } from "./EventOutbox.suite.ts"
import { dieBeforeForget, drift, holdAck, unplug } from "./Faults.ts"

/** Fast, so that a test on a real clock is short. */
export const quick: OutboxRelay.Options = {
  ...OutboxRelay.defaults,
  batch: 8,
  poll: Duration.millis(10),
  backoffBase: Duration.millis(5),
  backoffCap: Duration.millis(50),
  drain: Duration.millis(500)
}

const silence = Logger.layer([])

const untilAfter =
  (step: Effect.Effect<void>) =>
  <E, R>(condition: Effect.Effect<boolean, E, R>) =>
    Effect.gen(function* () {
      for (let round = 0; round < 500; round++) {
        if (yield* condition) return
        yield* step
      }
      assert.fail("it never came true")
    })

const relayOver = (
  change: {
    readonly bus?: (layer: Layer.Layer<EventBus>) => Layer.Layer<EventBus>
    readonly outbox?: (layer: Layer.Layer<EventOutbox>) => Layer.Layer<EventOutbox>
  } = {}
) =>
  Effect.gen(function* () {
    const bus = Layer.succeed(EventBus, yield* EventBus)
    const outbox = Layer.succeed(EventOutbox, yield* EventOutbox)
    const scope = yield* Scope.fork(yield* Effect.scope)
    const services = yield* Layer.buildWithScope(
      Layer.fresh(OutboxRelay.layerWith(quick)).pipe(
        Layer.provide(silence),
        Layer.provide([change.bus?.(bus) ?? bus, change.outbox?.(outbox) ?? outbox])
      ),
      scope
    )
    return {
      health: Effect.flatMap(OutboxRelay.OutboxRelay, ({ health }) => health).pipe(Effect.provide(services)),
      stop: Scope.close(scope, Exit.void)
    }
  })

const published = (topic: string, count: number) =>
  EventBus.use((bus) => bus.read(topic, "earliest").pipe(Stream.take(count), Stream.runCollect))

const ids = (records: ReadonlyArray<BusRecord>) => records.map((record) => record.headers["ce_id"])

/** `lapse` lets this much time pass, on whatever clock the store has. */
export const outboxRelaySuite = <E>(
  name: string,
  layer: Layer.Layer<EventOutbox | EventBus, E>,
  lapse: (duration: Duration.Duration) => Effect.Effect<void>
) =>
  withLayer(layer, { excludeTestServices: name !== "memory", timeout: "60 seconds" })(`OutboxRelay (${name})`, (it) => {
    const until = untilAfter(lapse(Duration.millis(10)))

    const drained = until(EventOutbox.use((outbox) => Effect.map(outbox.backlog, ({ waiting }) => waiting === 0)))

    it.effect("publishes what was staged, in order, as the envelope says, and removes it", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        yield* relayOver()
        const events = Array.from({ length: 10 }, () => event(topicOf("relay-flow"), "k"))
        yield* outbox.stage(events)
        yield* drained
        const got = yield* published(topicOf("relay-flow"), 10)
        assert.deepStrictEqual(
          got.map(({ key, headers, value }) => ({ key, headers: { ...headers, ce_time: "" }, value: [...value] })),
          events.map((one, index) => {
            const { key, headers, value } = Result.getOrThrow(
              toRecord({ ...one, sequence: index + 1, previous: index, stagedAtMillis: 0 })
            )
            return { key, headers: { ...headers, ce_time: "" }, value: [...value] }
          })
        )
      })
    )

    it.effect("after a crash between ack and removal the next relay sends the same ids again, in order", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        const events = [event(topicOf("relay-crash"), "k"), event(topicOf("relay-crash"), "k")]
        yield* outbox.stage(events)
        const dying = yield* relayOver({ outbox: dieBeforeForget })
        const first = yield* until(Effect.succeed(true)).pipe(
          Effect.andThen(published(topicOf("relay-crash"), 2)),
          Effect.forkChild
        )
        yield* until(Effect.sync(() => first.pollUnsafe() !== undefined))
        const stopping = yield* Effect.forkChild(dying.stop)
        yield* until(Effect.sync(() => stopping.pollUnsafe() !== undefined))
        yield* outbox.stage([event(topicOf("relay-crash"), "k")])
        yield* relayOver()
        yield* drained
        const got = ids(yield* published(topicOf("relay-crash"), 5))
        const [one, two] = events.map(({ id }) => id)
        assert.deepStrictEqual(got.slice(0, 4), [one, two, one, two])
      })
    )

    it.effect("waits out an absent bus, says so, and then delivers everything in order", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        const down = yield* Ref.make(true)
        const relay = yield* relayOver({ bus: unplug(down) })
        const events = Array.from({ length: 6 }, (_, n) => event(topicOf("relay-away"), `k${n % 2}`))
        yield* outbox.stage(events)
        yield* until(Effect.map(relay.health, ({ _tag }) => _tag === "Stalled"))
        yield* lapse(Duration.seconds(1))
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 6, parked: 0 })
        yield* Ref.set(down, false)
        yield* drained
        yield* until(Effect.map(relay.health, ({ _tag }) => _tag === "Flowing"))
        const got = yield* published(topicOf("relay-away"), 6)
        for (const key of ["k0", "k1"]) {
          assert.deepStrictEqual(
            ids(got.filter((one) => one.key === key)),
            events.filter((one) => one.key === key).map(({ id }) => id)
          )
        }
        yield* relay.stop
        assert.deepStrictEqual(yield* relay.health, { _tag: "Stopped" })
      })
    )

    it.effect("parks an event that no bus takes, and delays nothing but what follows it in its stream", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        const bad = [
          event(topicOf("relay-poison"), "bad"),
          event(topicOf("relay-poison"), "bad", "x".repeat(recordBytesMax)),
          event(topicOf("relay-poison"), "bad")
        ]
        const worse = [event(topicOf("relay-poison"), "worse", "x".repeat(recordBytesMax))]
        const good = [event(topicOf("relay-poison"), "good"), event(topicOf("relay-poison"), "good")]
        yield* outbox.stage([...bad, ...worse, ...good])
        yield* relayOver()
        yield* drained
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 0, parked: 3 })
        const got = ids(yield* published(topicOf("relay-poison"), 3))
        assert.deepStrictEqual(new Set(got), new Set([bad[0], ...good].map((one) => one?.id)))
        yield* outbox.stage([event(topicOf("relay-poison"), "bad"), event(topicOf("relay-poison"), "good")])
        yield* drained
        assert.strictEqual((yield* outbox.backlog).parked, 4)
      })
    )

    it.effect("a topic that drifted waits alone, and the relay says why", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        const relay = yield* relayOver({ bus: drift(topicOf("relay-drifted")) })
        yield* outbox.stage([event(topicOf("relay-drifted"), "k"), event(topicOf("relay-straight"), "k")])
        const got = yield* Effect.forkChild(published(topicOf("relay-straight"), 1))
        yield* until(Effect.sync(() => got.pollUnsafe() !== undefined))
        yield* until(
          Effect.map(
            relay.health,
            (health) => health._tag === "Stalled" && /relay-drifted.* has 5 partitions/.test(health.why)
          )
        )
        assert.strictEqual((yield* outbox.backlog).waiting, 1)
        yield* relay.stop
        yield* relayOver()
        yield* drained
      })
    )

    it.effect("a relay that is told to stop finishes the round in flight and leaves nothing leased", () =>
      Effect.gen(function* () {
        const outbox = yield* EventOutbox
        const written = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const relay = yield* relayOver({ bus: holdAck(written, go) })
        const staged = [event(topicOf("relay-drain"), "k")]
        yield* outbox.stage(staged)
        yield* until(Deferred.isDone(written))
        const stopping = yield* Effect.forkChild(relay.stop, { startImmediately: true })
        yield* lapse(Duration.millis(1))
        yield* outbox.stage([event(topicOf("relay-drain"), "k")])
        yield* Deferred.succeed(go, undefined)
        yield* until(Effect.sync(() => stopping.pollUnsafe() !== undefined))
        const [claim] = yield* outbox.claim("successor", 10)
        assert.deepStrictEqual(
          claim?.events.map(({ sequence }) => sequence),
          [2]
        )
        yield* lapse(suiteBounds.lease)
      })
    )
  })
