import { assert, describe, layer } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Logger, Option, Redacted } from "effect"

import { Charges } from "../../src/domain/payments/Charges.ts"
import { Fingerprint } from "../../src/domain/payments/Fingerprint.ts"
import { IdempotencyStore } from "../../src/domain/payments/IdempotencyStore.ts"
import * as ChargeIntake from "../../src/layers/payments/ChargeIntake.ts"
import * as RedisIdempotencyStore from "../../src/layers/payments/RedisIdempotencyStore.ts"
import * as Wake from "../../src/layers/payments/Wake.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import { Owner } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import * as RedisServer from "../support/RedisServer.ts"
import { chargesSuite } from "./Charges.suite.ts"
import { accepted, captured, claimed, intent } from "./intents.ts"
import { settings, sql } from "./stacks.ts"

const intakeOn = (keys: Layer.Layer<IdempotencyStore, never, IdempotencyStore>) =>
  ChargeIntake.layer.pipe(Layer.provide([keys, Wake.layer]))

/** What callers see must not depend on this, so that a budget of seconds shows a wait where there is one. */
const around = (server: { readonly url: Parameters<typeof Redis.layer>[0] }, budget = "20 millis") =>
  RedisIdempotencyStore.layer.pipe(
    Layer.provide([
      Redis.layer(server.url, { bootWait: Duration.millis(500) }),
      settings({ IDEMPOTENCY_REDIS_BUDGET: budget })
    ]),
    Layer.provide(Logger.layer([]))
  )

/** A settled charge, and the intent that made it. */
const settledCharge = Effect.gen(function* () {
  const asked = intent()
  yield* accepted(asked)
  const settled = yield* (yield* Charges).settle(captured(yield* claimed(asked.tenant)))
  return settled._tag === "Settled" ? { asked, told: settled.told } : yield* Effect.die(settled)
})

describeLive("RedisIdempotencyStore (redis)", ["redis"], ({ redis }) => {
  const before = around({ url: Redacted.make(redis) }).pipe(Layer.provideMerge(sql))
  chargesSuite("Redis before embedded Postgres", before, { excludeTestServices: true })
})

// It kills and stops the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("RedisIdempotencyStore (needs redis-server in the PATH)", () => {
  layer(sql, { excludeTestServices: true, timeout: "60 seconds" })("around Postgres", (it) => {
    const withStore = Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const context = yield* Layer.build(around(server))
      return { server, store: Context.get(context, IdempotencyStore) }
    })

    it.effect("recalls what was remembered, for as long as it is replayed", () =>
      Effect.gen(function* () {
        const { store } = yield* withStore
        const { asked, told } = yield* settledCharge
        assert.isTrue(Option.isNone(yield* store.recall(asked.tenant, asked.key)))
        yield* store.remember(asked.tenant, asked.key, told)
        assert.deepStrictEqual(yield* store.recall(asked.tenant, asked.key), Option.some(told))
        assert.isTrue(Option.isNone(yield* store.recall(intent().tenant, asked.key)))
        yield* store.remember(asked.tenant, asked.key, { ...told, ttlMillis: 30 })
        yield* Effect.sleep("40 millis")
        assert.isTrue(Option.isNone(yield* store.recall(asked.tenant, asked.key)))
      })
    )

    it.effect("a charge that is replayed from Redis reads as from Postgres, and another body is refused", () =>
      Effect.gen(function* () {
        const { store } = yield* withStore
        const { asked, told } = yield* settledCharge
        const { charge } = Context.get(
          yield* Layer.build(intakeOn(Layer.succeed(IdempotencyStore, store))),
          ChargeIntake.ChargeIntake
        )
        const fromPostgres = yield* charge(asked, Duration.zero)
        const owner = yield* Owner
        // Were Postgres asked again, it would have to say something else now.
        yield* owner`update idempotency_keys set document = 'asked' where key = ${asked.key}::uuid`
        const fromRedis = yield* charge(asked, Duration.zero)
        assert.deepStrictEqual({ ...fromRedis, ttlMillis: 0 }, { ...fromPostgres, ttlMillis: 0 })
        assert.strictEqual(fromRedis.document, told.document)
        const other = { ...asked, fingerprint: Fingerprint.make("0".repeat(64)) }
        assert.strictEqual((yield* Effect.flip(charge(other, Duration.zero))).reason._tag, "KeyReused")
      })
    )

    it.effect("a Redis that is emptied, hung or dead costs its budget and changes nothing else", () =>
      Effect.gen(function* () {
        const { server, store } = yield* withStore
        const { asked, told } = yield* settledCharge
        const recall = Effect.timed(store.recall(asked.tenant, asked.key))
        yield* store.remember(asked.tenant, asked.key, told)
        yield* server.freeze
        const [hung, lost] = yield* recall
        assert.isTrue(Option.isNone(lost))
        assert.isAtLeast(Duration.toMillis(hung), 15)
        yield* Effect.timed(store.remember(asked.tenant, asked.key, told))
        yield* server.thaw
        yield* server.kill
        assert.isTrue(Option.isNone((yield* recall)[1]))
        yield* server.start
        const found = yield* store.recall(asked.tenant, asked.key)
        assert.isTrue(Option.isNone(found))
      })
    )

    it.effect("what another database said is not believed, nor what was altered", () =>
      Effect.gen(function* () {
        const { server } = yield* withStore
        const { asked, told } = yield* settledCharge
        const redis = Context.get(yield* Layer.build(Redis.layer(server.url)), Redis.Redis)
        const before = Context.get(yield* Layer.build(around(server)), IdempotencyStore)
        yield* before.remember(asked.tenant, asked.key, told)
        const [name = ""] = yield* redis.use("1 second", (client) => client.keys("pay:*"))
        const entry = yield* redis.use("1 second", (client) => client.get(name))
        yield* redis.use("1 second", (client) => client.set(name, (entry ?? "").replace("1050", "1051")))
        assert.isTrue(Option.isNone(yield* before.recall(asked.tenant, asked.key)))
        yield* redis.use("1 second", (client) => client.set(name, entry ?? ""))
        assert.isTrue(Option.isSome(yield* before.recall(asked.tenant, asked.key)))
        const owner = yield* Owner
        yield* owner`update installations set id = gen_random_uuid()`
        const after = Context.get(yield* Layer.build(Layer.fresh(around(server))), IdempotencyStore)
        assert.isTrue(Option.isNone(yield* after.recall(asked.tenant, asked.key)))
      })
    )
  })
})
