import { randomUUID } from "node:crypto"

import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, ConfigProvider, Context, Duration, Effect, Exit, Layer, Logger, Redacted, Schema } from "effect"

import { DecisionId, impossible, Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, AskKey } from "../../src/domain/limits/Limiter.ts"
import { Ids } from "../../src/layers/limits/Ids.ts"
import { keyName } from "../../src/layers/limits/KeyName.ts"
import { decisionOf, evaluate, layer as fromSettings, layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { describeLive } from "../support/Live.ts"
import * as RedisServer from "../support/RedisServer.ts"
import { limiterSuite } from "./Limiter.suite.ts"
import { askOf, Model, policy, Steps } from "./Model.ts"

const ids = new Ids("test")

const silent = Logger.layer([])

/** Long enough that a busy machine decides in Redis all the same. */
const patient = Duration.seconds(5)
const limiterOn = (url: Redacted.Redacted, deadline = patient) =>
  layerWith({ deadline, shadow: windowsBounds }).pipe(
    Layer.provideMerge(Redis.layer(url, { silenceMax: Duration.seconds(5), bootWait: Duration.seconds(5) })),
    Layer.provide(silent)
  )
const hour = 3_600_000_000
const ask = (limit: number, key: AskKey["key"], cost = 1): Ask => ({
  keys: [{ policy: policy("live", limit, hour), key }],
  cost
})
const send = <A>(command: Parameters<typeof Redis.Redis.Service.use<A>>[1]) =>
  Redis.Redis.use((redis) => redis.use(patient, command))

const sourceOf = (limiter: Limiter["Service"], asked: Ask) => Effect.map(limiter.take(asked), ({ source }) => source)

const returned = (limiter: Limiter["Service"]) =>
  Effect.gen(function* () {
    while ((yield* sourceOf(limiter, ask(1_000_000, ["probe"]))) !== "redis") yield* Effect.sleep("2 millis")
  })

describeLive("Limiter (redis)", ["redis"], ({ redis }) => {
  const live = limiterOn(Redacted.make(redis))
  limiterSuite("redis", live, Effect.sleep, it.live)

  it.live.prop(
    "the script answers every history of asks as the pure model does",
    { steps: Steps },
    ({ steps }) =>
      Effect.gen(function* () {
        const model = new Model()
        const prefix = randomUUID()
        for (const [place, step] of steps.entries()) {
          if (step.pauseMicros > 0) yield* Effect.sleep(Duration.micros(BigInt(step.pauseMicros)))
          const asked = askOf(step, prefix)
          if (impossible(asked) !== undefined) continue
          const answer = yield* send((client) => evaluate(client, asked, `${place}`, step.peek))
          model.expect(asked, decisionOf(asked, answer, ids, place), answer[1], step.peek)
        }
      }).pipe(Effect.provide(live)),
    { arbitrary: { runs: 60 } }
  )

  it.live("admits exactly the limit to many callers of many processes", () =>
    Effect.gen(function* () {
      const asked = ask(137, [randomUUID()])
      const processes = yield* Effect.all(Arr.replicate(Layer.build(Layer.fresh(live)), 3))
      const callers = processes.flatMap((services) =>
        Arr.replicate(Effect.exit(Context.get(services, Limiter).take(asked)), 100)
      )
      const answers = yield* Effect.all(callers, { concurrency: "unbounded" })
      const granted = answers.filter(Exit.isSuccess)
      assert.strictEqual(granted.length, 137)
      assert.isTrue(granted.every(({ value }) => value.source === "redis"))
    })
  )

  it.live("charges a decision that is asked again once", () =>
    Effect.gen(function* () {
      const asked = { ...ask(10, [randomUUID()], 3), id: DecisionId.make("same") }
      const answers = yield* Effect.all(
        Arr.replicate(
          send((client) => evaluate(client, asked, "same", false)),
          4
        )
      )
      assert.deepStrictEqual(
        answers.map(([verdict, , remaining]) => [verdict, remaining]),
        Arr.replicate([1, 7], 4)
      )
      // Also when nothing else would fit any more.
      yield* send((client) => evaluate(client, ask(10, asked.keys[0].key, 7), "other", false))
      assert.strictEqual((yield* send((client) => evaluate(client, asked, "same", false)))[0], 1)
      assert.strictEqual((yield* send((client) => evaluate(client, asked, "new", false)))[0], 0)
    }).pipe(Effect.provide(live))
  )

  it.live("loads its script again after Redis forgot it, and charges once", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const asked = ask(5, [randomUUID()])
      yield* limiter.take(asked)
      yield* send((client) => client.script("FLUSH"))
      const { quotas, source } = yield* limiter.take(asked)
      assert.deepStrictEqual([quotas[0]?.remaining, source], [3, "redis"])
    }).pipe(Effect.provide(live))
  )

  it.live("writes thousands of units in one decision", () =>
    Effect.gen(function* () {
      const { quotas, source } = yield* Limiter.use((limiter) => limiter.take(ask(20_000, [randomUUID()], 9999)))
      assert.deepStrictEqual([quotas[0]?.remaining, source], [10_001, "redis"])
    }).pipe(Effect.provide(live))
  )

  it.live("leaves no key behind that does not end by itself", () =>
    Effect.gen(function* () {
      const key = { policy: policy("brief", 5, 700_001), key: [randomUUID()] } as const
      yield* Limiter.use((limiter) => limiter.take({ keys: [key], cost: 2 }))
      const left = yield* send((client) => client.pttl(keyName(key)))
      assert.isAbove(left, 701)
      assert.isAtMost(left, 2 * 700 + 1000)
      const peeked = { ...key, key: [randomUUID()] } as const
      yield* Limiter.use((limiter) => limiter.peek({ keys: [peeked], cost: 2 }))
      assert.strictEqual(yield* send((client) => client.exists(keyName(peeked))), 0)
    }).pipe(Effect.provide(live))
  )

  it.live("decides alone when Redis refuses, here because the key holds something else", () =>
    Effect.gen(function* () {
      const asked = ask(5, [randomUUID()])
      yield* send((client) => client.set(keyName(asked.keys[0]), "not ours", "EX", 60))
      const { quotas, source } = yield* Limiter.use((limiter) => limiter.take(asked))
      assert.deepStrictEqual([quotas[0]?.remaining, source], [4, "shadow"])
    }).pipe(Effect.provide(live))
  )
})

const tag = (key: string) => /^[^{}]*\{([^}]+)\}[^{}]*$/.exec(key)?.[1]

describe("RedisLimiter", () => {
  const Segment = Schema.Union([
    Schema.String,
    Schema.Literals(["", "%", ":", "}", "{", "a:b", "a", "b", "\0", "\ud800", "\ufffd", "x".repeat(300)])
  ])
  const Key = Schema.NonEmptyArray(Segment)
  const name = (key: typeof Key.Type) => keyName({ policy: policy("p", 1, 1000), key })

  it.prop("names two keys alike only if they are one", { one: Key, other: Key }, ({ one, other }) => {
    const same = one.length === other.length && one.every((segment, place) => segment === other[place])
    assert.strictEqual(name(one) === name(other), same)
  })

  it.prop("gives all keys of a tenant one cluster slot", { tenant: Segment, rest: Key }, ({ tenant, rest }) => {
    assert.isDefined(tag(name([tenant])))
    assert.strictEqual(tag(name([tenant, ...rest])), tag(name([tenant])))
  })
})

// It kills the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("RedisLimiter in an outage (needs redis-server in the PATH)", () => {
  const deadline = Duration.millis(40)
  const arranged = Effect.gen(function* () {
    const server = yield* RedisServer.make
    yield* server.start
    const options = { silenceMax: Duration.millis(100), backoffCap: Duration.millis(20) }
    const layer = layerWith({ deadline, shadow: windowsBounds }).pipe(
      Layer.provide(Redis.layer(server.url, options)),
      Layer.provide(silent)
    )
    return { server, limiter: Context.get(yield* Layer.build(layer), Limiter) }
  })

  it.live("counts on where Redis left off when it is killed, and returns to it", () =>
    Effect.gen(function* () {
      const { server, limiter } = yield* arranged
      const asked = ask(5, ["t"])
      for (let turn = 0; turn < 3; turn++) assert.strictEqual(yield* sourceOf(limiter, asked), "redis")
      yield* server.kill
      assert.strictEqual(yield* sourceOf(limiter, asked), "shadow")
      assert.strictEqual(yield* sourceOf(limiter, asked), "shadow")
      const { reason } = yield* Effect.flip(limiter.take(asked))
      assert(reason._tag === "RateLimited")
      assert.strictEqual(reason.source, "shadow")
      yield* server.start
      yield* returned(limiter)
    })
  )

  it.live("answers within the deadline while Redis hangs in the middle of traffic, and returns to it", () =>
    Effect.gen(function* () {
      const { server, limiter } = yield* arranged
      const asked = ask(1_000_000, ["t"])
      yield* sourceOf(limiter, asked)
      yield* server.freeze
      const answers = yield* Effect.all(
        Array.from({ length: 200 }, (_, turn) =>
          Effect.delay(Effect.timed(sourceOf(limiter, asked)), Duration.millis(turn))
        ),
        { concurrency: "unbounded" }
      )
      const waits = answers.map(([wait]) => Duration.toMillis(wait))
      assert.isTrue(answers.every(([, source]) => source === "shadow"))
      assert.isBelow(Math.max(...waits), Duration.toMillis(deadline) + 400) // What a busy machine adds.
      assert.isBelow(Math.min(...waits.slice(-20)), 5) // Given up for dead, it costs nobody a wait.
      yield* server.thaw
      yield* returned(limiter)
    })
  )

  it.live("waits as long as the settings say", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const settings = Settings.layer.pipe(
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ REDIS_DEADLINE: "300 millis" })))
      )
      const slow = { silenceMax: Duration.seconds(5) }
      const redis = Redis.layer(server.url, slow).pipe(Layer.provide(silent))
      const limiter = Context.get(yield* Layer.build(fromSettings.pipe(Layer.provide([settings, redis]))), Limiter)
      yield* server.freeze
      const [wait, source] = yield* Effect.timed(sourceOf(limiter, ask(5, ["t"])))
      assert.strictEqual(source, "shadow")
      assert.isAtLeast(Duration.toMillis(wait), 299)
    })
  )

  it.live("decides from the first request on when Redis was never there", () =>
    Effect.gen(function* () {
      const layer = layerWith({ deadline, shadow: windowsBounds }).pipe(
        Layer.provide(Redis.layer(Redacted.make("redis://127.0.0.1:1"))),
        Layer.provide(silent)
      )
      const limiter = Context.get(yield* Layer.build(layer), Limiter)
      assert.strictEqual(yield* sourceOf(limiter, ask(5, ["t"])), "shadow")
    })
  )
})
