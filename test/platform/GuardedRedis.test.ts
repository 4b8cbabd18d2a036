import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Layer, Logger, type Redacted, Schema } from "effect"

import { BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import { Limiter } from "../../src/domain/limits/Limiter.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import { layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as GuardedRedis from "../../src/layers/platform/GuardedRedis.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import type { Client } from "../../src/layers/platform/RedisClient.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { policy } from "../limits/Model.ts"
import * as RedisServer from "../support/RedisServer.ts"

const fromRedis = <A, E>(effect: Effect.Effect<A, E, Redis.Redis | Breakers>, url: Redacted.Redacted) =>
  Effect.provide(
    effect,
    GuardedRedis.layer.pipe(
      // Silent for longer than a test takes: who gives the connection up is the breaker.
      Layer.provide(Redis.layer(url, { silenceMax: Duration.seconds(30), bootWait: Duration.seconds(5) })),
      Layer.provideMerge(MemoryBreakers.layer),
      Layer.provideMerge(Settings.layer),
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ REDIS_DEADLINE: "50 millis" }))),
      Layer.provide(Logger.layer([]))
    )
  )

const use = <A>(send: (client: Client) => Promise<A>) =>
  Effect.flatMap(Redis.Redis, (redis) => redis.use("50 millis", send))

const stateOf = Effect.flatMap(Breakers, (breakers) =>
  Effect.map(breakers.snapshots, (all) => all.find(({ dependency }) => dependency === "redis")?.state)
)

const times = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.result(effect), { discard: true })

const until = <E, R>(holds: Effect.Effect<boolean, E, R>) =>
  Effect.sleep("5 millis").pipe(
    Effect.andThen(holds),
    Effect.repeat({ until: (yes) => yes }),
    Effect.timeout("10 seconds")
  )

const answers = Effect.map(Effect.result(use((client) => client.ping())), (result) => result._tag === "Success")

describe("GuardedRedis", () => {
  it.prop(
    "takes every no of Redis for a sign of life but those that say it cannot serve",
    { code: Schema.Literals(["WRONGTYPE", "NOSCRIPT", "ERR", "READONLY", "LOADING", "OOM", "CLUSTERDOWN", "NOAUTH"]) },
    ({ code }) => {
      const outcome = GuardedRedis.classify(Exit.fail(new Redis.RedisRefused({ code, detail: `${code} no` })))
      assert.strictEqual(outcome._tag, ["WRONGTYPE", "NOSCRIPT", "ERR"].includes(code) ? "Success" : "Failure")
    }
  )

  it("takes silence and absence for failures, and a bug of ours for none", () => {
    const failures = [
      new Redis.RedisTimeout({ deadline: Duration.millis(1) }),
      new Redis.RedisUnavailable({ detail: "gone" })
    ]
    for (const failure of failures) assert.strictEqual(GuardedRedis.classify(Exit.fail(failure))._tag, "Failure")
    assert.strictEqual(GuardedRedis.classify(Exit.die(new Error("bug")))._tag, "Ignored")
  })
})

// Needs a redis-server on this machine.
describe.skipIf(!RedisServer.installed)("GuardedRedis, on a server", () => {
  it.live("refuses at once while Redis hangs, gives up the silent connection, and comes back on a new one", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      yield* Effect.gen(function* () {
        const first = yield* use((client) => client.client("ID"))
        yield* server.freeze
        yield* times(
          5,
          use((client) => client.ping())
        )
        assert.strictEqual(yield* stateOf, "open")
        const [took, refused] = yield* Effect.timed(Effect.flip(use((client) => client.ping())))
        assert.isBelow(Duration.toMillis(took), 40)
        assert.strictEqual(refused._tag, "RedisUnavailable")
        const cause = "cause" in refused ? refused.cause : undefined
        assert.instanceOf(cause, BreakerError)
        assert.deepStrictEqual([cause.dependency, cause.reason._tag], ["redis", "CircuitOpen"])
        const redis = yield* Redis.Redis
        yield* until(Effect.map(redis.ready, (ready) => !ready))
        yield* server.thaw
        yield* until(answers)
        yield* until(Effect.map(stateOf, (state) => state === "closed"))
        assert.notStrictEqual(yield* use((client) => client.client("ID")), first)
      }).pipe((effect) => fromRedis(effect, server.url))
    }).pipe(Effect.scoped)
  )

  it.live("carries a limiter, whose work in the background has more time than a request", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const keys = [{ policy: policy("guarded", 5, 1_000_000), key: ["t"] }] as const
      const { source } = yield* Limiter.use((limiter) => limiter.take({ keys, cost: 1 })).pipe(
        Effect.provide(layerWith({ deadline: Duration.millis(50), shadow: windowsBounds })),
        (effect) => fromRedis(effect, server.url)
      )
      assert.strictEqual(source, "redis")
    }).pipe(Effect.scoped)
  )

  it.live("keeps its connection and its calls while Redis only says no to them", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      yield* Effect.gen(function* () {
        yield* use((client) => client.set("text", "x"))
        yield* times(
          30,
          use((client) => client.lpush("text", "y"))
        )
        assert.strictEqual(yield* stateOf, "closed")
        yield* use((client) => client.replicaof("127.0.0.1", 1))
        yield* times(
          5,
          use((client) => client.set("text", "z"))
        )
        assert.strictEqual(yield* stateOf, "open")
      }).pipe((effect) => fromRedis(effect, server.url))
    }).pipe(Effect.scoped)
  )
})
