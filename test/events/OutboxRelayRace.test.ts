/** Several relays, stagers and every fault at once: no loss, and the first publications of a key in order. */
import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Layer, Logger, Random, Schema, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"

import type { ReadRecord } from "../../src/domain/events/EventBus.ts"
import { EventBus } from "../../src/domain/events/EventBus.ts"
import { EventOutbox } from "../../src/domain/events/EventOutbox.ts"
import * as MemoryEventBus from "../../src/layers/events/MemoryEventBus.ts"
import * as MemoryEventOutbox from "../../src/layers/events/MemoryEventOutbox.ts"
import * as OutboxRelay from "../../src/layers/events/OutboxRelay.ts"
import * as SqlEventBus from "../../src/layers/events/SqlEventBus.ts"
import * as SqlEventOutbox from "../../src/layers/events/SqlEventOutbox.ts"
import { testDatabase } from "../Postgres.ts"
import { suitePartitions } from "./EventBus.suite.ts"
import { event, suiteBounds } from "./EventOutbox.suite.ts"
import { stormyBus, stormyOutbox } from "./Faults.ts"
import { quick } from "./OutboxRelay.suite.ts"

const silence = Logger.layer([])
const relay = (bus: Layer.Layer<EventBus>, outbox: Layer.Layer<EventOutbox>) =>
  Layer.fresh(OutboxRelay.layerWith({ ...quick, batch: 3, drain: Duration.zero })).pipe(
    Layer.provide(silence),
    Layer.provide([bus, outbox])
  )

/** Each key's sequences in the order in which they first lie on the bus. */
const firsts = (records: ReadonlyArray<ReadRecord>) => {
  const seen = new Map<string, Array<number>>()
  for (const { key, headers } of records) {
    const sequences = seen.get(key) ?? []
    seen.set(key, sequences)
    const sequence = Number(headers["ce_sequence"])
    if (!sequences.includes(sequence)) sequences.push(sequence)
  }
  return seen
}

const dense = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

const keys = ["a", "b", "c", "d"]
const perKey = 12

describe("OutboxRelay, racing (memory)", () => {
  it.effect.prop(
    "whatever the interleaving, crashes, lost acks and late writes included",
    { seed: Schema.Int },
    ({ seed }) =>
      Effect.gen(function* () {
        const outbox = Layer.succeed(EventOutbox, yield* EventOutbox)
        const bus = Layer.succeed(EventBus, yield* EventBus)
        const written: Array<ReadRecord> = []
        yield* EventBus.use((service) =>
          service
            .read("race.v1", "earliest")
            .pipe(Stream.runForEach((record) => Effect.sync(() => written.push(record))))
        ).pipe(Effect.forkChild)

        const stager = Effect.forEach(
          dense(perKey * keys.length),
          (n) =>
            Effect.flatMap(Random.next, (drawn) => Effect.sleep(drawn * 40)).pipe(
              Effect.andThen(
                EventOutbox.use((service) => service.stage([event("race.v1", keys[n % keys.length] ?? "")]))
              )
            ),
          { discard: true }
        )
        const mortal = Effect.gen(function* () {
          const scope = yield* Scope.make()
          yield* Layer.buildWithScope(relay(stormyBus(bus), stormyOutbox(outbox)), scope)
          yield* Effect.sleep(100 + 900 * (yield* Random.next))
          yield* Scope.close(scope, Exit.void)
        })
        const staging = yield* Effect.forkChild(stager)
        const relays = yield* Effect.forkChild(
          Effect.all([Effect.forever(mortal), Effect.forever(mortal), Effect.forever(mortal)], { concurrency: 3 })
        )
        const backlog = EventOutbox.use((service) => service.backlog)
        for (let step = 0; step < 4000; step++) {
          if (staging.pollUnsafe() !== undefined && (yield* backlog).waiting === 0) break
          yield* TestClock.adjust("25 millis")
        }
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.interrupt(relays)
        assert.deepStrictEqual(yield* backlog, { waiting: 0, parked: 0 })
        assert.deepStrictEqual(
          Object.fromEntries(firsts(written)),
          Object.fromEntries(keys.map((key) => [key, dense(perKey)]))
        )
        // The storm must have been one: a run without a repeat has tested little.
        repeats += written.length - keys.length * perKey
      }).pipe(
        Effect.provide(Layer.merge(MemoryEventOutbox.layerWith(suiteBounds), MemoryEventBus.layer), { local: true }),
        Random.withSeed(seed)
      ),
    { arbitrary: { runs: 25 }, timeout: 60_000 }
  )

  let repeats = 0
  it("and those interleavings did publish events twice", () => {
    assert.isAbove(repeats, 25)
  })
})

const live = Layer.merge(
  SqlEventOutbox.layerWith({ ...suiteBounds, lease: Duration.millis(150) }),
  SqlEventBus.layerWith({ topics: [], partitions: suitePartitions, poll: Duration.millis(10) })
).pipe(Layer.provideMerge(testDatabase))

layer(live, { excludeTestServices: true, timeout: "60 seconds" })("OutboxRelay, racing (embedded Postgres)", (it) => {
  it.effect("real concurrency, with transactions that roll back and leases that run out", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const outbox = yield* EventOutbox
      const services = yield* Effect.context<EventOutbox | EventBus>()
      const outboxLayer = Layer.succeed(EventOutbox, outbox)
      const busLayer = Layer.succeed(EventBus, Context.get(services, EventBus))
      const stager = (id: number) =>
        Effect.forEach(
          dense(10),
          (n) =>
            Effect.gen(function* () {
              const staged = yield* outbox.stage([event("race.v1", keys[(id + n) % keys.length] ?? "")])
              if (n % 5 === 0) return yield* Effect.fail("changed my mind")
              return staged
            }).pipe(sql.withTransaction, Effect.exit),
          { discard: true }
        )
      const scope = yield* Scope.make()
      for (let n = 0; n < 3; n++)
        yield* Layer.buildWithScope(relay(stormyBus(busLayer), stormyOutbox(outboxLayer)), scope)
      yield* Effect.forEach(dense(4), stager, { concurrency: "unbounded" })
      for (;;) {
        if ((yield* outbox.backlog).waiting === 0) break
        yield* Effect.sleep("20 millis")
      }
      yield* Scope.close(scope, Exit.void)
      const counts = yield* sql<{ key: string; last: number; records: number }>`
        select key, last_seq::float8 as last,
          (select count(*)::float8 from event_log l where l.topic = s.topic and l.key = s.key) as records
        from event_streams s where topic = 'race.v1'`
      const total = counts.reduce((sum, { records }) => sum + records, 0)
      const bus = yield* EventBus
      const got = yield* bus.read("race.v1", "earliest").pipe(Stream.take(total), Stream.runCollect)
      assert.strictEqual(
        counts.reduce((sum, { last }) => sum + last, 0),
        32
      )
      assert.deepStrictEqual(
        Object.fromEntries(firsts(got)),
        Object.fromEntries(counts.map(({ key, last }) => [key, dense(last)]))
      )
    })
  )
})
