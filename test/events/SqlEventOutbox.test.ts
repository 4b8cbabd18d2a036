import { assert, layer } from "@effect/vitest"
import { ConfigProvider, Deferred, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"

import { EventOutbox } from "../../src/domain/events/EventOutbox.ts"
import * as SqlEventOutbox from "../../src/layers/events/SqlEventOutbox.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { testDatabase } from "../Postgres.ts"
import { event, eventOutboxSuite, suiteBounds } from "./EventOutbox.suite.ts"

const outboxLayer = SqlEventOutbox.layerWith(suiteBounds).pipe(Layer.provideMerge(testDatabase))

eventOutboxSuite("embedded Postgres", outboxLayer, Effect.sleep)

layer(outboxLayer, { excludeTestServices: true, timeout: "60 seconds" })("SqlEventOutbox", (it) => {
  it.effect("an event exists if and only if its transaction commits, and a rollback leaves no gap", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const outbox = yield* EventOutbox
      const staging = outbox.stage([event("tx.v1", "k")])
      assert.deepStrictEqual(yield* staging, [1])
      yield* Effect.exit(sql.withTransaction(Effect.andThen(staging, Effect.fail("changed my mind"))))
      assert.deepStrictEqual(yield* sql.withTransaction(staging), [2])
      const [claim] = yield* outbox.claim("me", 10)
      assert.deepStrictEqual(
        claim?.events.map(({ sequence }) => sequence),
        [1, 2]
      )
    })
  )

  it.effect("a transaction that stages and stays open delays its own stream and nothing else", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const outbox = yield* EventOutbox
      yield* outbox.stage([event("open.v1", "held"), event("open.v1", "free")])
      const claims = yield* outbox.claim("me", 10)
      const published = claims.map(({ topic, key, epoch }) => ({ topic, key, epoch, through: 1 }))
      const staged = yield* Deferred.make<void>()
      const finish = yield* Deferred.make<void>()
      const open = yield* outbox
        .stage([event("open.v1", "held")])
        .pipe(
          Effect.andThen(Deferred.succeed(staged, undefined)),
          Effect.andThen(Deferred.await(finish)),
          sql.withTransaction,
          Effect.forkChild
        )
      yield* Deferred.await(staged)
      const first = yield* outbox.forget("me", published)
      assert.deepStrictEqual(
        first.removed.map(({ key }) => key),
        ["free"]
      )
      assert.deepStrictEqual(
        first.busy.map(({ key }) => key),
        ["held"]
      )
      yield* Deferred.succeed(finish, undefined)
      yield* Fiber.join(open)
      assert.deepStrictEqual((yield* outbox.forget("me", first.busy)).removed, first.busy)
      const [next] = yield* outbox.claim("me", 10)
      assert.deepStrictEqual(
        next?.events.map(({ sequence }) => sequence),
        [2]
      )
    })
  )

  it.effect("a lease lasts as long as the settings say", () =>
    Effect.gen(function* () {
      const outbox = yield* Effect.provide(
        EventOutbox,
        SqlEventOutbox.layer.pipe(
          Layer.provide(Layer.fresh(Settings.layer)),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ RELAY_LEASE: "10 minutes" })))
        )
      )
      yield* outbox.stage([event("lease.v1", "k")])
      yield* outbox.claim("me", 100)
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(
        yield* sql`select due_at between clock_timestamp() + '9 minutes' and clock_timestamp() + '10 minutes' as so
          from event_streams where topic = 'lease.v1'`,
        [{ so: true }]
      )
    })
  )

  it.effect("programs touch the tables through the functions only", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const write of [
        "delete from outbox_events",
        "update event_streams set last_seq = 0",
        "delete from event_log"
      ]) {
        const refused = yield* Effect.flip(sql.unsafe(write))
        assert.strictEqual(refused.reason._tag, "AuthorizationError")
      }
    })
  )
})
