import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Duration, Effect, Exit, Layer, Logger, Schema, Stream } from "effect"
import type { Redacted } from "effect"

import { Breaker, BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as RedisHints from "../../src/layers/breakers/RedisHints.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import { RedisSubscriber } from "../../src/layers/platform/RedisSubscriber.ts"
import * as Subscriber from "../../src/layers/platform/RedisSubscriber.ts"
import * as RedisCluster from "../support/RedisCluster.ts"
import * as RedisServer from "../support/RedisServer.ts"

const failuresMax = 5
const quick = { backoffBase: Duration.millis(5), backoffCap: Duration.millis(20) }
const memory = MemoryBreakers.layerWith({
  failuresMax,
  window: Duration.minutes(1),
  windowCap: Duration.minutes(2),
  fleet: 10
})

/** What a process did with the hints that it had, and with Redis. */
interface Watched {
  readonly hinted: Array<string>
  asked: number
}

/** A process of a fleet, but for the process. */
const instance = Effect.fnUntraced(function* (url: Redacted.Redacted) {
  const watched: Watched = { hinted: [], asked: 0 }
  const breakers = Layer.effectContext(
    Effect.gen(function* () {
      const inner = yield* Breakers
      const hint: typeof inner.hint = (name, lasting) =>
        Effect.andThen(
          inner.hint(name, lasting),
          Effect.sync(() => watched.hinted.push(name))
        )
      return Context.make(Breakers, { ...inner, hint }).pipe(Context.add(Breaker, yield* Breaker))
    })
  ).pipe(Layer.provide(Layer.fresh(memory)))
  const redis = Layer.effect(
    Redis.Redis,
    Effect.map(Redis.Redis, (redis) => ({
      ...redis,
      use: (deadline, send) => {
        watched.asked++
        return redis.use(deadline, send)
      }
    }))
  ).pipe(Layer.provide(Layer.fresh(Redis.layer(url, quick))))
  const context = yield* Layer.build(
    RedisHints.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(breakers, redis, Layer.fresh(Subscriber.layer(url, quick)))),
      Layer.provide(Logger.layer([]))
    )
  )
  yield* until(Context.get(context, RedisSubscriber).ready)
  return { watched, context }
})
type Instance = Effect.Success<ReturnType<typeof instance>>

const until = (holds: Effect.Effect<boolean>) =>
  Effect.gen(function* () {
    while (!(yield* holds)) yield* Effect.sleep("2 millis")
  })
const hinted = ({ watched }: Instance, times: number) => until(Effect.sync(() => watched.hinted.length >= times))

const classify: Dependency.Classify<string> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
const writing = (name: string) =>
  Dependency.write<string>(Dependency.make(name, "http", { timeout: Duration.seconds(5), ramp: "none" }), "call", {
    classify
  })
const psp = writing("psp")

/** One failing call; true when it was made. */
const fail = (operation = psp) =>
  Effect.flatMap(Breaker, (breaker) => Effect.flip(breaker.write(operation, Effect.fail("down")))).pipe(
    Effect.map((error) => !(error instanceof BreakerError))
  )
/** How many calls fail before the breaker opens. */
const evidence = (operation = psp) =>
  Effect.gen(function* () {
    let calls = 0
    while (yield* fail(operation)) calls++
    return calls
  })
/** Calls of a day like any other, told by what came of each. */
const day = (operation = psp) =>
  Effect.gen(function* () {
    const breaker = yield* Breaker
    const outcomes: Array<string> = []
    for (let n = 0; n < 200; n++) {
      const call = n % 7 === 3 || n > 150 ? Effect.fail("down") : Effect.succeed("up")
      const told = yield* Effect.match(breaker.write(operation, call), {
        onSuccess: (value) => value,
        onFailure: (error) => (typeof error === "string" ? error : error.reason._tag)
      })
      outcomes.push(told)
    }
    return outcomes
  })
const say = (text: string) =>
  Effect.orDie(Redis.Redis.use((redis) => redis.use("1 second", (client) => client.publish(RedisHints.channel, text))))
const opened = (name: string, more: object = {}) => JSON.stringify({ by: "other", opened: name, ...more })
const inAnHour = Effect.map(DateTime.now, DateTime.add({ hours: 1 }))
const word = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Struct({ by: Schema.String, opened: Schema.String }))
)

// It kills the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("RedisHints (needs redis-server in the PATH)", () => {
  it.live("what one of ten has found out, a fifth of the evidence tells the others", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const alone = yield* Effect.provide(evidence(), Layer.fresh(memory))
      assert.strictEqual(alone, failuresMax)
      const [first, ...others] = yield* Effect.all(
        Array.from({ length: 10 }, () => instance(server.url)),
        { concurrency: "unbounded" }
      )
      assert(first !== undefined)
      // A hint is about a breaker that is there.
      const known = Effect.flatMap(Breakers, (breakers) => breakers.declare(psp.dependency))
      for (const { context } of others) yield* Effect.provide(known, context)
      assert.strictEqual(yield* Effect.provide(evidence(), first.context), failuresMax)
      let calls = 0
      for (const other of others) {
        yield* hinted(other, 1)
        calls += yield* Effect.provide(evidence(), other.context)
      }
      assert.isAtMost(calls / others.length / alone, 0.2)
      assert.deepStrictEqual(first.watched.hinted, [], "it does not listen to itself")
    })
  )

  it.live("an opening upon hearsay is not told on", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const [one, two, ear] = yield* Effect.all([instance(server.url), instance(server.url), instance(server.url)])
      yield* Effect.provide(fail(), two.context)
      yield* Effect.provide(evidence(), one.context)
      yield* hinted(two, 1)
      yield* Effect.provide(evidence(), two.context)
      // Told after it, so that what was not told would have been heard by then.
      yield* Effect.provide(evidence(writing("shop")), two.context)
      yield* until(Effect.sync(() => ear.watched.hinted.includes("shop")))
      assert.deepStrictEqual(ear.watched.hinted, ["psp", "shop"])
    })
  )

  it.live("costs a call no round trip, with Redis there or away, where all is as it is alone", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const alone = yield* Effect.provide(day(), Layer.fresh(memory))
      assert.include(alone, "CircuitOpen")
      const { context, watched } = yield* instance(server.url)
      assert.deepStrictEqual(yield* Effect.provide(day(), context), alone)
      yield* until(Effect.sync(() => watched.asked === 1))

      const away = yield* instance(server.url)
      yield* server.kill
      const [spent, outcomes] = yield* Effect.timed(Effect.provide(day(), away.context))
      assert.deepStrictEqual(outcomes, alone)
      yield* until(Effect.sync(() => away.watched.asked === 1))
      assert.isBelow(Duration.toMillis(spent), 500)
      // One opening, one word; calls cost none, before and after.
      yield* Effect.provide(day(), away.context)
      assert.deepStrictEqual([watched.asked, away.watched.asked], [1, 1])
    })
  )

  it.live("goes on when Redis is back", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const [one, two] = yield* Effect.all([instance(server.url), instance(server.url)])
      yield* server.kill
      yield* Effect.provide(evidence(), one.context)
      yield* server.start
      for (const { context } of [one, two]) {
        yield* until(Context.get(context, RedisSubscriber).ready)
        yield* until(Context.get(context, Redis.Redis).ready)
      }
      yield* Effect.provide(evidence(writing("shop")), one.context)
      yield* hinted(two, 1)
      assert.deepStrictEqual(two.watched.hinted, ["shop"])
    })
  )

  it.live("works over a Cluster, also when a node of it is lost", () =>
    Effect.gen(function* () {
      const { nodes, url } = yield* RedisCluster.make
      const [one, two] = yield* Effect.all([instance(url), instance(url)])
      yield* Effect.provide(evidence(), one.context)
      yield* hinted(two, 1)
      yield* Effect.orDie(Effect.fromNullishOr(nodes[0]).pipe(Effect.flatMap(({ kill }) => kill)))
      const { ready } = Context.get(two.context, RedisSubscriber)
      yield* until(Effect.map(ready, (is) => !is))
      yield* until(ready)
      // The first words may still be sent to the node that is gone: news that is not told in time is not told.
      let n = 0
      while (two.watched.hinted.length < 2) {
        yield* Effect.provide(evidence(writing(`shop-${n++}`)), one.context)
        yield* Effect.sleep("20 millis")
      }
    })
  )

  it.live("hears nothing that is no word of its own kind, too long, or about Redis; remembers a bounded number", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const { context, watched } = yield* instance(server.url)
      yield* Effect.gen(function* () {
        for (const text of ["", "nonsense", "{}", "[]", `{"by":"other"}`, opened(""), opened("x".repeat(301))]) {
          yield* say(text)
        }
        yield* say(opened("long", { padding: "x".repeat(2000) }))
        yield* say(opened("redis"))
        yield* say(opened("psp"))
      }).pipe(Effect.provide(context))
      yield* hinted({ context, watched }, 1)
      assert.deepStrictEqual(watched.hinted, ["psp"])

      yield* Effect.provide(
        Effect.forEach(Array.from({ length: 1100 }), (_, n) => say(opened(`made-${n}`))),
        context
      )
      yield* Effect.provide(say(opened("psp")), context)
      yield* until(Effect.sync(() => watched.hinted.at(-1) === "psp"))
      assert.lengthOf(watched.hinted, 1 + 999 + 1)
    })
  )

  it.live("tells nothing about Redis, nor what an operator ordered", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const { context } = yield* instance(server.url)
      const ear = yield* Layer.build(Subscriber.layer(server.url, quick))
      const words: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(Context.get(ear, RedisSubscriber).messages(RedisHints.channel), (text) =>
          Effect.sync(() => words.push(word(text).opened))
        )
      )
      yield* Effect.sleep("1 millis")
      yield* until(Context.get(ear, RedisSubscriber).ready)
      yield* Effect.gen(function* () {
        yield* evidence(writing("redis"))
        yield* evidence(writing("x".repeat(301)))
        const breakers = yield* Breakers
        yield* breakers.declare(psp.dependency)
        yield* breakers.force("psp", { to: "open", until: yield* inAnHour })
        yield* breakers.force("psp", undefined)
        yield* evidence(writing("shop"))
      }).pipe(Effect.provide(context))
      yield* until(Effect.sync(() => words.length > 0))
      assert.deepStrictEqual(words, ["shop"])
    })
  )
})
