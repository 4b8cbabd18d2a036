/** The promises of `Redis`, wherever the URL leads: through a bad network, behind TLS, Sentinels and in a Cluster. */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import * as tls from "node:tls"

import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Context, Duration, Effect, Fiber, Layer, Logger, Redacted } from "effect"

import { layer, Redis } from "../../src/layers/platform/Redis.ts"
import type { RedisOptions } from "../../src/layers/platform/Redis.ts"
import { describeLive } from "../support/Live.ts"
import * as Proxy from "../support/Proxy.ts"
import * as RedisCluster from "../support/RedisCluster.ts"
import * as RedisReplica from "../support/RedisReplica.ts"
import * as RedisServer from "../support/RedisServer.ts"

const quick = {
  backoffBase: Duration.millis(5),
  backoffCap: Duration.millis(20),
  silenceMax: Duration.millis(100),
  bootWait: Duration.seconds(5)
}
const connected = (url: string, options: Partial<RedisOptions> = {}) =>
  Effect.map(
    Layer.build(layer(Redacted.make(url), { ...quick, ...options }).pipe(Layer.provide(Logger.layer([])))),
    Context.get(Redis)
  )
const patient = "5 seconds"
const short = "60 millis"
const get = (redis: Redis["Service"], key: string) => redis.use(patient, (client) => client.get(key))
const incr = (redis: Redis["Service"], key: string, deadline: Duration.Input = patient) =>
  redis.use(deadline, (client) => client.incr(key))
const tagOf = <A, E extends { readonly _tag: string }>(asked: Effect.Effect<A, E>) =>
  Effect.match(asked, { onSuccess: () => "answered", onFailure: ({ _tag }): string => _tag })
const ready = (redis: Redis["Service"]) =>
  Effect.gen(function* () {
    while (!(yield* redis.ready)) yield* Effect.sleep("2 millis")
  })
const until = (tag: string, asked: Effect.Effect<string>) =>
  Effect.gen(function* () {
    while ((yield* asked) !== tag) yield* Effect.sleep("2 millis")
  })

// It takes the wire to a server of its own in its hand.
describe.runIf(RedisServer.installed)("Redis on a bad network (needs redis-server in the PATH)", () => {
  const behindProxy = Effect.gen(function* () {
    const server = yield* RedisServer.started
    const proxy = yield* Proxy.make(server.port)
    return { proxy, redis: yield* connected(`redis://127.0.0.1:${proxy.port}`) }
  })

  it.live("sends nothing twice when the answer is lost on the way", () =>
    Effect.gen(function* () {
      const { proxy, redis } = yield* behindProxy
      yield* proxy.deafen
      assert.strictEqual(yield* tagOf(incr(redis, "count", short)), "RedisTimeout")
      yield* until("RedisUnavailable", tagOf(incr(redis, "late", short)))
      yield* proxy.hear
      yield* ready(redis)
      assert.strictEqual(yield* get(redis, "count"), "1")
    })
  )

  it.live("keeps its deadline on a wire that stalls, and returns with it", () =>
    Effect.gen(function* () {
      const { proxy, redis } = yield* behindProxy
      yield* proxy.stall
      assert.strictEqual(yield* tagOf(incr(redis, "count", short)), "RedisTimeout")
      yield* until("RedisUnavailable", tagOf(incr(redis, "late", short)))
      yield* proxy.flow
      yield* until("answered", tagOf(incr(redis, "after")))
    })
  )

  it.live("tells a cut connection to whoever waits on it, at once", () =>
    Effect.gen(function* () {
      const { proxy, redis } = yield* behindProxy
      yield* proxy.deafen
      const waiting = yield* Effect.forkChild(tagOf(incr(redis, "count")), { startImmediately: true })
      yield* proxy.cut
      const [took, tag] = yield* Effect.timed(Fiber.join(waiting))
      assert.strictEqual(tag, "RedisUnavailable")
      assert.isBelow(Duration.toMillis(took), 1000)
    })
  )

  it.live("goes on with a replica that was promoted without what it had not heard", () =>
    Effect.gen(function* () {
      const pair = yield* RedisReplica.make
      const redis = yield* connected(Redacted.value(pair.url))
      yield* incr(redis, "count")
      yield* pair.heard
      yield* pair.lag
      yield* incr(redis, "count")
      yield* pair.promote
      yield* until("answered", tagOf(get(redis, "count")))
      assert.strictEqual(yield* incr(redis, "count"), 2)
    })
  )
})

const openssl = spawnSync("openssl", ["version"]).status === 0

// It gives a server of its own a certificate.
describe.runIf(RedisServer.installed && openssl)(
  "Redis behind TLS (needs redis-server and openssl in the PATH)",
  () => {
    const secure = RedisServer.makeWith((place) => {
      const [key, cert] = [`${place.dir}/key.pem`, `${place.dir}/cert.pem`]
      const subject = ["-subj", "/CN=cribwork", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
      const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
      spawnSync("openssl", ["req", "-x509", ...kind, ...subject, "-keyout", key, "-out", cert])
      const files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert]
      return [...RedisServer.plain(place), "--tls-port", `${place.spare}`, "--tls-auth-clients", "no", ...files]
    })

    it.live("speaks to a server whose certificate it can believe, and to no other", () =>
      Effect.gen(function* () {
        const server = yield* secure
        yield* server.start
        const url = `rediss://127.0.0.1:${server.spare}`
        const doubtful = yield* connected(url, { bootWait: Duration.millis(300) })
        const refused = yield* Effect.flip(doubtful.use(short, (client) => client.ping()))
        assert(refused._tag === "RedisUnavailable")
        assert.match(refused.detail, /self-signed/)
        const before = tls.getCACertificates()
        tls.setDefaultCACertificates([...before, readFileSync(`${server.dir}/cert.pem`, "utf8")])
        yield* Effect.addFinalizer(() => Effect.sync(() => tls.setDefaultCACertificates(before)))
        const redis = yield* connected(url)
        assert.strictEqual(yield* incr(redis, "count"), 1)
        yield* server.freeze
        assert.strictEqual(yield* tagOf(incr(redis, "count", short)), "RedisTimeout")
        yield* until("RedisUnavailable", tagOf(incr(redis, "late", short)))
        yield* server.thaw
        yield* until("answered", tagOf(get(redis, "count")))
        assert.strictEqual(yield* get(redis, "count"), "2")
      })
    )
  }
)

const watcherOf = (master: number) =>
  RedisServer.makeWith(({ dir, port }) => {
    const lines = [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${dir}`,
      `sentinel monitor cribwork 127.0.0.1 ${master} 1`,
      "sentinel down-after-milliseconds cribwork 300",
      "sentinel failover-timeout cribwork 1000"
    ]
    writeFileSync(`${dir}/sentinel.conf`, `${lines.join("\n")}\n`)
    return [`${dir}/sentinel.conf`, "--sentinel"]
  })

// It kills the master that it lets a Sentinel watch.
describe.runIf(RedisServer.installed)("Redis behind Sentinels (needs redis-server in the PATH)", () => {
  it.live("starts before anybody names a master, finds it, and follows it to the one that takes its place", () =>
    Effect.gen(function* () {
      const pair = yield* RedisReplica.pair
      const watcher = yield* watcherOf(pair.master.port)
      const url = `redis+sentinel://127.0.0.1:1,127.0.0.1:${watcher.port}/cribwork`
      const redis = yield* connected(url, { bootWait: Duration.millis(100) })
      const error = yield* Effect.flip(incr(redis, "count", short))
      assert(error._tag === "RedisUnavailable")
      assert.match(error.detail, /sentinel/)
      yield* watcher.start
      yield* ready(redis)
      assert.strictEqual(yield* incr(redis, "count"), 1)
      yield* pair.heard
      const replicas = RedisServer.say(watcher.port, "SENTINEL replicas cribwork")
      while (!(yield* replicas).includes(`${pair.replica.port}`)) yield* Effect.sleep("20 millis")
      yield* pair.master.kill
      yield* until("RedisUnavailable", tagOf(incr(redis, "other", short)))
      yield* until("answered", tagOf(incr(redis, "other")))
      assert.strictEqual(yield* incr(redis, "count"), 2)
    })
  )
})

const idOf = (node: RedisServer.Server) =>
  Effect.map(RedisServer.say(node.port, "CLUSTER MYID"), (answer) => answer.split("\r\n")[1] ?? "")

// They wait for their clusters to form, so they wait together.
describe.runIf(RedisServer.installed).concurrent("Redis as a Cluster (needs redis-server in the PATH)", () => {
  /** A key of each node, in their order: of slots 3300, 7365 and 15495. */
  const [first, second, third] = ["b", "c", "a"] as const
  const secondSlot = 7365
  type Nodes = readonly [RedisServer.Server, RedisServer.Server, RedisServer.Server]

  it.live("keeps its promises node by node: hung, killed and back", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const redis = yield* connected(Redacted.value(cluster.url))
      const [hung, lost] = cluster.nodes as ReadonlyArray<RedisServer.Server> as Nodes
      yield* hung.freeze
      assert.strictEqual(yield* tagOf(incr(redis, first, short)), "RedisTimeout")
      assert.strictEqual(yield* incr(redis, second), 1)
      yield* until("RedisUnavailable", tagOf(incr(redis, `{${first}}late`, short)))
      // Nothing waits for a connection, however often it is tried and given up meanwhile.
      for (let turn = 0; turn < 60; turn++) {
        assert.strictEqual(yield* tagOf(incr(redis, `{${first}}never`, short)), "RedisUnavailable")
        yield* Effect.sleep("25 millis")
      }
      yield* hung.thaw
      yield* until("answered", tagOf(get(redis, first)))
      assert.strictEqual(yield* get(redis, first), "1")
      assert.isNull(yield* get(redis, `{${first}}never`))

      yield* lost.kill
      yield* until("RedisUnavailable", tagOf(incr(redis, second, short)))
      assert.strictEqual(yield* incr(redis, third), 1)
      const refusals = yield* Effect.all(Arr.replicate(Effect.timed(tagOf(incr(redis, second))), 5))
      assert.isBelow(Math.min(...refusals.map(([took]) => Duration.toMillis(took))), 50)
      yield* lost.start
      yield* until("answered", tagOf(incr(redis, second)))
      yield* ready(redis)
    })
  )

  it.live("follows a key to the node that holds it now, and does there once what it was asked", () =>
    Effect.gen(function* () {
      const cluster = yield* RedisCluster.make
      const redis = yield* connected(Redacted.value(cluster.url))
      yield* incr(redis, second)
      const [to, from] = cluster.nodes as ReadonlyArray<RedisServer.Server> as Nodes
      yield* RedisServer.say(to.port, `CLUSTER SETSLOT ${secondSlot} IMPORTING ${yield* idOf(from)}`)
      yield* RedisServer.say(from.port, `CLUSTER SETSLOT ${secondSlot} MIGRATING ${yield* idOf(to)}`)
      yield* RedisServer.say(from.port, `MIGRATE 127.0.0.1 ${to.port} ${second} 0 1000`)
      assert.strictEqual(yield* incr(redis, second), 2)
      for (const node of cluster.nodes) {
        yield* RedisServer.say(node.port, `CLUSTER SETSLOT ${secondSlot} NODE ${yield* idOf(to)}`)
      }
      assert.strictEqual(yield* incr(redis, second), 3)
    })
  )
})

describeLive("Redis (redis-cluster)", ["redis-cluster"], ({ "redis-cluster": url }) => {
  it.live("answers for keys of every node, and tells a refusal from an absence", () =>
    Effect.gen(function* () {
      const redis = yield* connected(url)
      for (const key of ["places-a", "places-b", "places-c"]) {
        yield* redis.use(patient, (client) => client.set(key, key, "EX", 60))
        assert.strictEqual(yield* get(redis, key), key)
      }
      const refused = yield* Effect.flip(redis.use(patient, (client) => client.del("a", "b")))
      assert(refused._tag === "RedisRefused")
      assert.strictEqual(refused.code, "CROSSSLOT")
    })
  )
})
