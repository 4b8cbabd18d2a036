import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Logger, Queue, Redacted, Stream } from "effect"

import { layer as redisLayer, Redis } from "../../src/layers/platform/Redis.ts"
import { layer, RedisSubscriber } from "../../src/layers/platform/RedisSubscriber.ts"
import type { SubscriberOptions } from "../../src/layers/platform/RedisSubscriber.ts"
import * as RedisCluster from "../support/RedisCluster.ts"
import * as RedisServer from "../support/RedisServer.ts"

const quick = { backoffBase: Duration.millis(5), backoffCap: Duration.millis(20), silenceMax: Duration.millis(100) }

const subscriber = (url: Redacted.Redacted, options: Partial<SubscriberOptions> = {}) =>
  Effect.map(Layer.build(Layer.fresh(layer(url, { ...quick, ...options }))), Context.get(RedisSubscriber))

const until = (holds: Effect.Effect<boolean>) =>
  Effect.gen(function* () {
    while (!(yield* holds)) yield* Effect.sleep("2 millis")
  })

/** What was heard on a channel, in order, while the scope is open. */
const heardOn = Effect.fnUntraced(function* ({ messages }: RedisSubscriber["Service"], channel: string) {
  const heard = yield* Queue.unbounded<string>()
  yield* Effect.forkScoped(
    Stream.runForEach(messages(channel), (message) => Queue.offer(heard, message)),
    { startImmediately: true }
  )
  return heard
})

/** Says something once, however often the connection has to be made for it. */
const sayTo = Effect.fnUntraced(function* (url: Redacted.Redacted) {
  const context = yield* Layer.build(Layer.fresh(redisLayer(url, quick)).pipe(Layer.provide(Logger.layer([]))))
  const redis = Context.get(context, Redis)
  return (channel: string, message: string) =>
    Effect.andThen(
      until(redis.ready),
      Effect.orDie(redis.use("1 second", (client) => client.publish(channel, message)))
    )
})

describe("RedisSubscriber, absent", () => {
  it.live("holds up nobody's start, and says that it hears nothing", () =>
    Effect.gen(function* () {
      const [waited, { messages, ready }] = yield* Effect.timed(subscriber(Redacted.make("redis://127.0.0.1:1")))
      assert.isBelow(Duration.toMillis(waited), 200)
      assert.isFalse(yield* ready)
      const heard = yield* Effect.timeoutOption(Stream.runHead(messages("news")), "50 millis")
      assert.strictEqual(heard._tag, "None")
    })
  )
})

// It kills the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("RedisSubscriber (needs redis-server in the PATH)", () => {
  it.live("hears what is said on the channels that are read, each reader all of it, and no other", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const listening = yield* subscriber(server.url)
      const news = yield* heardOn(listening, "news")
      const also = yield* heardOn(listening, "news")
      const sport = yield* heardOn(listening, "sport")
      yield* until(listening.ready)
      const say = yield* sayTo(server.url)
      assert.strictEqual(yield* say("news", "one"), 1, "one connection, whoever reads")
      assert.strictEqual(yield* say("weather", "rain"), 0)
      yield* say("sport", "goal")
      assert.deepStrictEqual(
        [yield* Queue.take(news), yield* Queue.take(also), yield* Queue.take(sport)],
        ["one", "one", "goal"]
      )
    })
  )

  it.live("stops listening when the last reader has gone", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const listening = yield* subscriber(server.url)
      const say = yield* sayTo(server.url)
      yield* until(listening.ready)
      yield* Effect.scoped(heardOn(listening, "news"))
      yield* until(Effect.map(say("news", "none"), (ears) => ears === 0))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* heardOn(listening, "news")
          yield* Effect.scoped(Effect.andThen(heardOn(listening, "news"), until(listening.ready)))
          assert.strictEqual(yield* say("news", "one"), 1)
        })
      )
      yield* until(Effect.map(say("news", "two"), (ears) => ears === 0))
      assert.isTrue(yield* listening.ready, "all that is asked for")
      const again = yield* heardOn(listening, "news")
      yield* until(listening.ready)
      yield* say("news", "three")
      assert.strictEqual(yield* Queue.take(again), "three")
    })
  )

  it.live("hears again when a server that was killed is back", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      const listening = yield* subscriber(server.url)
      const idle = yield* subscriber(server.url)
      const heard = yield* heardOn(listening, "news")
      const say = yield* sayTo(server.url)
      for (const life of ["one", "two"]) {
        yield* server.start
        yield* until(listening.ready)
        yield* until(idle.ready)
        yield* say("news", life)
        assert.strictEqual(yield* Queue.take(heard), life)
        yield* server.kill
        yield* until(Effect.map(listening.ready, (ready) => !ready))
        yield* until(Effect.map(idle.ready, (ready) => !ready))
      }
    })
  )

  it.live("gives up a connection that is dead without saying so, and hears again", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const listening = yield* subscriber(server.url, { pulse: Duration.millis(20) })
      const heard = yield* heardOn(listening, "news")
      yield* until(listening.ready)
      yield* server.freeze
      yield* until(Effect.map(listening.ready, (ready) => !ready))
      yield* server.thaw
      yield* until(listening.ready)
      const say = yield* sayTo(server.url)
      yield* say("news", "awake")
      assert.strictEqual(yield* Queue.take(heard), "awake")
    })
  )

  it.live("a reader who lags misses the oldest", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const listening = yield* subscriber(server.url)
      const held = yield* Queue.unbounded<string>()
      const go = yield* Queue.unbounded<void>()
      yield* Effect.forkScoped(
        Stream.runForEach(listening.messages("news"), (message) =>
          Effect.andThen(Queue.offer(held, message), Queue.take(go))
        ),
        { startImmediately: true }
      )
      const other = yield* heardOn(listening, "news")
      yield* until(listening.ready)
      const say = yield* sayTo(server.url)
      for (let n = 0; n < 1000; n++) yield* say("news", String(n))
      yield* until(Effect.map(Queue.take(other), (last) => last === "999"))
      yield* Queue.offerAll(go, Array.from({ length: 1000 }))
      const seen: Array<string> = []
      while (seen.at(-1) !== "999") seen.push(yield* Queue.take(held))
      assert.isBelow(seen.length, 600)
    })
  )

  it.live("hears in a Cluster what is said at any node, and goes on listening at another when its own is lost", () =>
    Effect.gen(function* () {
      const { nodes, url } = yield* RedisCluster.make
      const listening = yield* subscriber(url)
      const heard = yield* heardOn(listening, "news")
      yield* until(listening.ready)
      for (const { url } of nodes) {
        const say = yield* sayTo(url)
        yield* say("news", Redacted.value(url))
        assert.strictEqual(yield* Queue.take(heard), Redacted.value(url))
      }
      const [first, second] = nodes
      assert(first !== undefined && second !== undefined)
      yield* first.kill
      yield* until(Effect.map(listening.ready, (ready) => !ready))
      yield* until(listening.ready)
      yield* (yield* sayTo(second.url))("news", "still here")
      assert.strictEqual(yield* Queue.take(heard), "still here")
    })
  )
})
