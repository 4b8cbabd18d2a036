import { assert, layer } from "@effect/vitest"
import { ConfigProvider, Deferred, Duration, Effect, Fiber, Layer, Random, Stream } from "effect"
import { SqlClient } from "effect/sql"

import { EventBus } from "../../src/domain/events/EventBus.ts"
import * as SqlEventBus from "../../src/layers/events/SqlEventBus.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { testDatabase } from "../Postgres.ts"
import { eventBusSuite, record, suitePartitions } from "./EventBus.suite.ts"

const settings = (variables: Record<string, string>) =>
  Layer.fresh(Settings.layer).pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(variables))))

const options = { topics: ["boot.v1", "gap.v1"], partitions: suitePartitions, poll: Duration.millis(10) }
const busLayer = SqlEventBus.layerWith(options).pipe(Layer.provideMerge(testDatabase))

eventBusSuite("embedded log", busLayer)

layer(busLayer, { excludeTestServices: true, timeout: "60 seconds" })("SqlEventBus", (it) => {
  it.effect("a topic with another number of partitions stops the boot and says what to do", () =>
    Effect.gen(function* () {
      const drifted = SqlEventBus.layer(["boot.v1"]).pipe(Layer.provide(settings({ KAFKA_PARTITIONS: "5" })))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(drifted)))
      assert.strictEqual(error._tag === "EventBusError" && error.reason._tag, "TopicDrifted")
      assert.match(error.message, /boot\.v1 has 4 partitions where 5 .*KAFKA_PARTITIONS=4/)
    })
  )

  it.effect("a topic that was opened in a transaction that came to nothing is opened again", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const bus = yield* EventBus
      const publish = bus.publish([record("undone.v1", "k", "kept")])
      yield* Effect.exit(sql.withTransaction(Effect.andThen(publish, Effect.fail("rolled back"))))
      const first = yield* Effect.flip(publish)
      assert.strictEqual(first.reason._tag, "Retriable")
      yield* publish
      const got = yield* bus.read("undone.v1", "earliest").pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(
        got.map((one) => one.offset),
        [0]
      )
    })
  )

  it.effect("writers that meet in the same partitions, each in another order, never deadlock", () =>
    Effect.gen(function* () {
      const wide = yield* Effect.provide(EventBus, SqlEventBus.layerWith({ ...options, topics: [], partitions: 50 }))
      const write = Effect.gen(function* () {
        const [first, ...others] = yield* Random.shuffle(Array.from({ length: 20 }, (_, n) => n))
        for (let batch = 0; batch < 25; batch++) {
          const at = (n: number) => ({ ...record("wide.v1", "k"), partition: (n * 7 + batch) % 50 })
          yield* wide.publish([at(first ?? 0), ...others.map(at)])
        }
      })
      yield* Effect.all(
        Array.from({ length: 8 }, () => write),
        { concurrency: "unbounded" }
      )
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(yield* sql`select count(*)::int as records from event_log where topic = 'wide.v1'`, [
        { records: 4000 }
      ])
    })
  )

  it.effect("a reader never passes a record whose transaction has not committed yet", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const bus = yield* EventBus
      const append = (value: string) => bus.publish([record("gap.v1", "k", value)])
      const appended = yield* Deferred.make<void>()
      const finish = yield* Deferred.make<void>()
      const slow = yield* append("slow").pipe(
        Effect.andThen(Deferred.succeed(appended, undefined)),
        Effect.andThen(Deferred.await(finish)),
        sql.withTransaction,
        Effect.forkChild
      )
      yield* Deferred.await(appended)
      yield* Effect.exit(sql.withTransaction(Effect.andThen(append("gone"), Effect.fail("rolled back")))).pipe(
        Effect.forkChild
      )
      const fast = yield* Effect.forkChild(append("fast"))
      const reader = yield* bus
        .read("gap.v1", "earliest")
        .pipe(Stream.take(2), Stream.runCollect, Effect.forkChild({ startImmediately: true }))
      yield* Effect.sleep("50 millis")
      assert.isUndefined(fast.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      yield* Fiber.join(slow)
      yield* Fiber.join(fast)
      const got = yield* Fiber.join(reader)
      assert.deepStrictEqual(
        got.map((one) => [new TextDecoder().decode(one.value), one.offset]),
        [
          ["slow", 0],
          ["fast", 1]
        ]
      )
    })
  )
})
