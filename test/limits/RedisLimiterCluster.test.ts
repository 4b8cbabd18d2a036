/** The limiter on a Redis Cluster: the same promises, and each tenant shares the fate of one node alone. */
import { randomUUID } from "node:crypto"

import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Cause, Context, Duration, Effect, Exit, Layer, Redacted } from "effect"
import { Cluster } from "ioredis"

import { Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask } from "../../src/domain/limits/Limiter.ts"
import { keyName } from "../../src/layers/limits/KeyName.ts"
import { layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import { describeLive } from "../support/Live.ts"
import * as RedisCluster from "../support/RedisCluster.ts"
import * as RedisServer from "../support/RedisServer.ts"
import { beat, instance, silent } from "./Crowd.ts"
import { limiterSuite } from "./Limiter.suite.ts"
import { policy } from "./Model.ts"

const patient = Duration.seconds(5)
const ask = (limit: number, tenant: string): Ask => ({
  keys: [
    { policy: policy("live", limit, 3_600_000_000), key: [tenant] },
    { policy: policy("user", limit, 3_600_000_000), key: [tenant, "user"] }
  ],
  cost: 1
})
/** Counted apart from what a test asks for. */
const probe = (tenant: string): Ask => ({
  keys: [{ policy: policy("probe", 1_000_000, 3_600_000_000), key: [tenant] }],
  cost: 1
})
const sourceOf = (limiter: Limiter["Service"], asked: Ask) =>
  Effect.match(limiter.take(asked), {
    onSuccess: ({ source }): string => source,
    onFailure: ({ reason }): string => (reason._tag === "RateLimited" ? `no from ${reason.source}` : reason._tag)
  })

describeLive("Limiter (redis-cluster)", ["redis-cluster"], ({ "redis-cluster": url }) => {
  const live = layerWith({ deadline: patient, shadow: windowsBounds }).pipe(
    Layer.provideMerge(Redis.layer(Redacted.make(url), { silenceMax: patient, bootWait: patient })),
    Layer.provide(silent)
  )
  limiterSuite("redis-cluster", live, Effect.sleep, it.live)

  it.live("loads its script again after a node forgot it, and charges once", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const tenants = Array.from({ length: 12 }, () => ask(5, randomUUID()))
      for (const one of tenants) yield* limiter.take(one)
      yield* Redis.Redis.use((redis) =>
        redis.use(patient, (client) => {
          assert(client instanceof Cluster)
          return Promise.all(client.nodes("master").map((node) => node.script("FLUSH")))
        })
      )
      for (const one of tenants) {
        const { quotas, source } = yield* limiter.take(one)
        assert.deepStrictEqual([quotas[0]?.remaining, source], [3, "redis"])
      }
    }).pipe(Effect.provide(live))
  )
})

/** Until it is connected to every node. */
const met = (limiter: Limiter["Service"]) =>
  Effect.gen(function* () {
    const probes = Effect.forEach(Arr.range(0, 11), (n) => sourceOf(limiter, probe(`tenant-${n}`)))
    while ((yield* probes).some((source) => source !== "redis")) yield* Effect.sleep("5 millis")
  })

// They wait for their clusters to form, so they wait together.
describe.runIf(RedisServer.installed).concurrent("RedisLimiter on a Cluster (needs redis-server in the PATH)", () => {
  it.live("admits exactly the limit of each tenant to many callers of many processes", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const tenants = Array.from({ length: 12 }, (_, n) => ask(17, `tenant-${n}`))
      const limiters = yield* Effect.all(Arr.replicate(instance(cluster.url, { deadline: patient }), 3))
      yield* Effect.forEach(limiters, met)
      const asked = tenants.flatMap((one) =>
        limiters.flatMap((limiter) => Arr.replicate(Effect.map(Effect.exit(limiter.take(one)), Exit.getSuccess), 10))
      )
      const granted = Arr.getSomes(yield* Effect.all(asked, { concurrency: "unbounded" }))
      assert.lengthOf(granted, 12 * 17)
      assert.isTrue(granted.every(({ source }) => source === "redis"))
    })
  )

  it.live("decides alone for the tenants of a lost node only, and tells it what it lost when it is back", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const limiter = yield* instance(cluster.url)
      yield* met(limiter)
      const tenants = Array.from({ length: 12 }, (_, n) => ask(4, `tenant-${n}`))
      const sources = Effect.forEach(tenants, (one) => sourceOf(limiter, one))
      for (let turn = 0; turn < 2; turn++) assert.deepStrictEqual(new Set(yield* sources), new Set(["redis"]))
      const [lost] = cluster.nodes
      yield* lost?.kill ?? Effect.void
      const during = yield* sources
      assert.deepStrictEqual(new Set(during), new Set(["redis", "shadow"]))
      yield* lost?.start ?? Effect.void
      const mine = during.flatMap((source, n) => (source === "shadow" ? [n] : []))
      while ((yield* sourceOf(limiter, probe(`tenant-${mine[0]}`))) !== "redis") yield* Effect.sleep("5 millis")
      // Three of four are spent, whoever admitted them.
      for (const one of tenants) {
        assert.include(["redis", "shadow"], yield* sourceOf(limiter, one))
        assert.include(yield* sourceOf(limiter, one), "no from")
      }
    })
  )

  it.live("calls an ask whose keys lie in two slots what it is, a mistake of the program", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const limiter = yield* instance(cluster.url, { deadline: patient })
      const exit = yield* Effect.exit(
        limiter.take({ keys: [...ask(5, "here").keys, ...ask(5, "there").keys], cost: 1 })
      )
      assert(Exit.isFailure(exit))
      assert.include(Cause.pretty(exit.cause), "all keys of an ask begin alike")
    })
  )

  it.live("tells each tenant's slot what it must know when all were emptied", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const limiters = yield* Effect.all(Arr.replicate(instance(cluster.url, { deadline: patient }), 2))
      yield* Effect.forEach(limiters, met)
      const redis = Context.get(
        yield* Layer.build(Redis.layer(cluster.url, { bootWait: patient }).pipe(Layer.provide(silent))),
        Redis.Redis
      )
      const tenants = Array.from({ length: 6 }, (_, n) => ask(60, `tenant-${n}`))
      yield* Effect.forEach(tenants, (one) =>
        Effect.forEach([...limiters, ...limiters], (limiter) => limiter.take(one))
      )
      yield* redis.use(patient, (client) => {
        assert(client instanceof Cluster)
        return Promise.all(client.nodes("master").map((node) => node.flushall()))
      })
      const first = limiters[0] as Limiter["Service"]
      yield* first.take(tenants[0] as Ask)
      const counts = Effect.forEach(tenants, ({ keys: [key] }) =>
        redis.use(patient, (client) => client.zcard(keyName(key)))
      )
      // Both hear of it within a beat or two, also of tenants for whom nobody asks.
      while ((yield* counts).join() !== "5,4,4,4,4,4") yield* Effect.sleep(beat)
      // And that nothing need be held back for each other any more.
      while ((yield* first.peek(tenants[1] as Ask)).quotas[0]?.remaining !== 56) yield* Effect.sleep(beat)
    })
  )
})
