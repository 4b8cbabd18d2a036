import { assert, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Logger, Metric } from "effect"
import { TestClock } from "effect/testing"

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
import { kafkaOptions } from "./KafkaOptions.ts"
import { outboxRelaySuite } from "./OutboxRelay.suite.ts"

/** Room for an event that is too large for any bus. */
const bounds = { ...suiteBounds, bytesMax: 10_000_000 }

outboxRelaySuite("memory", Layer.merge(MemoryEventOutbox.layerWith(bounds), MemoryEventBus.layer), TestClock.adjust)

outboxRelaySuite(
  "embedded Postgres",
  Layer.merge(
    SqlEventOutbox.layerWith(bounds),
    SqlEventBus.layerWith({ topics: [], partitions: suitePartitions, poll: Duration.millis(10) })
  ).pipe(Layer.provide(testDatabase)),
  Effect.sleep
)

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
