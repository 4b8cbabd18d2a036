import { assert, it, layer } from "@effect/vitest"
import { ConfigProvider, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, Metric, Ref, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"

import { EventBus } from "../../src/domain/events/EventBus.ts"
import { EventOutbox } from "../../src/domain/events/EventOutbox.ts"
import * as KafkaJsEventBus from "../../src/layers/events/KafkaJsEventBus.ts"
import * as MemoryEventBus from "../../src/layers/events/MemoryEventBus.ts"
import * as MemoryEventOutbox from "../../src/layers/events/MemoryEventOutbox.ts"
import * as OutboxRelay from "../../src/layers/events/OutboxRelay.ts"
import * as SqlEventBus from "../../src/layers/events/SqlEventBus.ts"
import * as SqlEventOutbox from "../../src/layers/events/SqlEventOutbox.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { suitePartitions } from "./EventBus.suite.ts"
import { event, suiteBounds } from "./EventOutbox.suite.ts"
import { holdAck, unplug } from "./Faults.ts"
import { kafkaOptions } from "./KafkaOptions.ts"
import { outboxRelaySuite, quick } from "./OutboxRelay.suite.ts"

/** Room for an event that is too large for any bus. */
const bounds = { ...suiteBounds, bytesMax: 10_000_000 }

outboxRelaySuite("memory", Layer.merge(MemoryEventOutbox.layerWith(bounds), MemoryEventBus.layer), TestClock.adjust)

const sqlLayer = Layer.merge(
  SqlEventOutbox.layerWith(bounds),
  SqlEventBus.layerWith({ topics: [], partitions: suitePartitions, poll: Duration.millis(10) })
)

outboxRelaySuite("embedded Postgres", sqlLayer.pipe(Layer.provide(testDatabase)), Effect.sleep)

describeLive("OutboxRelay (kafka)", ["kafka"], ({ kafka }) => {
  outboxRelaySuite(
    "kafka",
    Layer.merge(MemoryEventOutbox.layerWith(bounds), KafkaJsEventBus.layerWith(kafkaOptions(kafka))),
    Effect.sleep
  )
})

const metrics = Effect.map(
  Metric.snapshot,
  (all) => new Map(all.flatMap(({ id, state }) => ("count" in state || "value" in state ? [[id, state] as const] : [])))
)

it.effect("the relay counts what it publishes and parks, and what waits, at the pace of the settings", () =>
  Effect.gen(function* () {
    const outbox = yield* EventOutbox
    const before = yield* metrics
    const counted = (name: string) =>
      Effect.map(metrics, (after) => {
        const count = (all: typeof after) =>
          Number(Object.entries(all.get(name) ?? {}).find(([k]) => k === "count")?.[1] ?? 0)
        return count(after) - count(before)
      })
    yield* outbox.stage([event("m.v1", "a"), event("m.v1", "b"), event("m.v1", "c"), event("no topic", "k")])
    yield* TestClock.adjust("30 seconds")
    assert.strictEqual(yield* counted("cribwork_events_published_total"), 3)
    assert.strictEqual(yield* counted("cribwork_events_parked_total"), 1)
    yield* TestClock.adjust("30 seconds")
    const after = yield* metrics
    assert.deepInclude(after.get("cribwork_events_waiting_events"), { value: 0 })
    assert.deepInclude(after.get("cribwork_events_parked_events"), { value: 1 })
  }).pipe(
    Effect.provide(
      OutboxRelay.layer.pipe(
        Layer.provideMerge(Layer.merge(MemoryEventOutbox.layer, MemoryEventBus.layer)),
        Layer.provide([
          Logger.layer([]),
          Settings.layer.pipe(
            Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ RELAY_POLL: "20 seconds" })))
          )
        ])
      )
    )
  )
)

it.effect("an outage costs no lease: what could not be published is offered again at once", () =>
  Effect.gen(function* () {
    const down = yield* Ref.make(true)
    const bus = Layer.succeed(EventBus, yield* EventBus)
    yield* Layer.build(
      OutboxRelay.layerWith(quick).pipe(
        Layer.provide(Logger.layer([])),
        Layer.provide([unplug(down)(bus), Layer.succeed(EventOutbox, yield* EventOutbox)])
      )
    )
    const outbox = yield* EventOutbox
    yield* outbox.stage([event("lease.v1", "k")])
    yield* TestClock.adjust("1 second")
    yield* Ref.set(down, false)
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* outbox.backlog, { waiting: 0, parked: 0 })
  }).pipe(Effect.provide(Layer.merge(MemoryEventOutbox.layer, MemoryEventBus.layer)))
)

layer(sqlLayer.pipe(Layer.provideMerge(testDatabase)), { excludeTestServices: true, timeout: "60 seconds" })(
  "OutboxRelay (beside other transactions)",
  (it) => {
    it.effect("what was published while its stream was busy is removed later, and not published again", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const outbox = yield* EventOutbox
        const written = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const staged = yield* Deferred.make<void>()
        const finish = yield* Deferred.make<void>()
        yield* outbox.stage([event("busy.v1", "k")])
        const bus = holdAck(written, go)(Layer.succeed(EventBus, yield* EventBus))
        const scope = yield* Scope.fork(yield* Effect.scope)
        yield* Layer.buildWithScope(
          OutboxRelay.layerWith(quick).pipe(
            Layer.provide(Logger.layer([])),
            Layer.provide([bus, Layer.succeed(EventOutbox, outbox)])
          ),
          scope
        )
        yield* Deferred.await(written)
        const open = yield* outbox
          .stage([event("busy.v1", "k")])
          .pipe(
            Effect.andThen(Deferred.succeed(staged, undefined)),
            Effect.andThen(Deferred.await(finish)),
            sql.withTransaction,
            Effect.forkChild
          )
        yield* Deferred.await(staged)
        yield* Deferred.succeed(go, undefined)
        // Longer than the lease: only the relay's own memory can tell that the event was published.
        yield* Effect.sleep(Duration.times(bounds.lease, 1.5))
        yield* Deferred.succeed(finish, undefined)
        yield* Fiber.join(open)
        while ((yield* outbox.backlog).waiting > 0) yield* Effect.sleep("10 millis")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(
          yield* sql`select headers ->> 'ce_sequence' as n from event_log where topic = 'busy.v1' order by record_offset`,
          [{ n: "0000000000000000001" }, { n: "0000000000000000002" }]
        )
      })
    )

    it.effect("headers that somebody staged in SQL and that are not texts park their event", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const outbox = yield* EventOutbox
        yield* sql`select stage_event('odd.v1', 'k', gen_random_uuid(), 'odd', '[1]'::jsonb, '{}')`
        yield* Layer.build(OutboxRelay.layerWith(quick).pipe(Layer.provide(Logger.layer([]))))
        while ((yield* outbox.backlog).waiting > 0) yield* Effect.sleep("10 millis")
        assert.deepStrictEqual(
          yield* sql`select parked_seq::int as seq, parked_reason as why from event_streams where topic = 'odd.v1'`,
          [{ seq: 1, why: "headers must be an object of texts" }]
        )
      })
    )
  }
)
