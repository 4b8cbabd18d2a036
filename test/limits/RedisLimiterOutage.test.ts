import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, ConfigProvider, Context, Duration, Effect, Exit, Layer, Metric, Redacted } from "effect"
import { Redis as Client } from "ioredis"

import { DecisionId, Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, AskKey } from "../../src/domain/limits/Limiter.ts"
import { Policy } from "../../src/domain/limits/Policy.ts"
import type { Outage } from "../../src/domain/limits/Policy.ts"
import { keyName } from "../../src/layers/limits/KeyName.ts"
import { layer as fromSettings, layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as RedisServer from "../support/RedisServer.ts"
import { acquainted, beat, crowd, instance, silent, worstWindow } from "./Crowd.ts"
import { policy } from "./Model.ts"

const deadline = 60
const hour = 3_600_000_000

const ask = (limit: number, key: AskKey["key"], outage: Outage = "soft", windowMicros = hour): Ask => ({
  keys: [{ policy: new Policy({ ...policy("live", limit, windowMicros), outage }), key }],
  cost: 1
})

const sourceOf = (limiter: Limiter["Service"], asked: Ask) =>
  Effect.match(limiter.take(asked), {
    onSuccess: ({ source }): string => source,
    onFailure: ({ reason }): string => (reason._tag === "RateLimited" ? `no from ${reason.source}` : reason._tag)
  })

const probe = ask(1_000_000, ["probe"], "open")

const returned = (limiter: Limiter["Service"]) =>
  Effect.gen(function* () {
    while ((yield* sourceOf(limiter, probe)) !== "redis") yield* Effect.sleep("2 millis")
  })

const gone = (limiter: Limiter["Service"]) =>
  Effect.gen(function* () {
    while ((yield* sourceOf(limiter, probe)) === "redis") yield* Effect.sleep("2 millis")
  })

const commandsTo = (url: Redacted.Redacted) =>
  Effect.acquireRelease(
    Effect.sync(() => new Client(Redacted.value(url))),
    (client) => Effect.sync(() => client.disconnect())
  )

/** What Redis counts under the key of an ask. */
const counted = (client: Client, asked: Ask) =>
  Effect.map(
    Effect.promise(() => client.zrange(keyName(asked.keys[0]), "0", "-1")),
    (members) => members.toSorted()
  )

/** A series as it stands. */
const count = (id: string, attributes: Record<string, string> = {}) =>
  Effect.map(Metric.snapshot, (all) => {
    const found = all.find(
      (one) => one.id === id && Object.entries(attributes).every(([name, value]) => one.attributes?.[name] === value)
    )
    return found?.type === "Counter" || found?.type === "Gauge"
      ? Number("count" in found.state ? found.state.count : found.state.value)
      : 0
  })

const started = Effect.gen(function* () {
  const server = yield* RedisServer.make
  yield* server.start
  return server
})

/** Scripts of this client read a clock that a key puts forward, by seconds. */
const withClock = (client: Client, key: string): Client =>
  new Proxy(client, {
    get: (target, property) => {
      if (property === "evalsha") return () => Promise.reject(new Error("NOSCRIPT"))
      if (property !== "eval") return Reflect.get(target, property) as unknown
      const time = `(function() local t = redis.call('TIME') return { t[1] + (redis.call('GET', '${key}') or 0), t[2] } end)()`
      return (text: string, keys: number, ...values: ReadonlyArray<string>) =>
        target.eval(text.replaceAll("redis.call('TIME')", time), keys, ...values)
    }
  })

const patient = Duration.seconds(5)

// It kills the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("RedisLimiter in an outage (needs redis-server in the PATH)", () => {
  it.live("counts on where Redis left off when it is killed, and returns to it", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      const asked = ask(5, ["t"])
      for (let turn = 0; turn < 3; turn++) assert.strictEqual(yield* sourceOf(limiter, asked), "redis")
      yield* server.kill
      assert.strictEqual(yield* sourceOf(limiter, asked), "shadow")
      assert.strictEqual(yield* sourceOf(limiter, asked), "shadow")
      assert.strictEqual(yield* sourceOf(limiter, asked), "no from shadow")
      yield* server.start
      yield* returned(limiter)
      assert.strictEqual(yield* sourceOf(limiter, asked), "no from redis")
    })
  )

  it.live("answers within the deadline while Redis hangs in the middle of traffic, and returns to it", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
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
      assert.isBelow(Math.max(...waits), deadline + 400) // What a busy machine adds.
      assert.isBelow(Math.min(...waits.slice(-20)), 5) // Given up for dead, it costs nobody a wait.
      yield* server.thaw
      yield* returned(limiter)
    })
  )

  it.live("waits as long as the settings say", () =>
    Effect.gen(function* () {
      const server = yield* started
      const settings = Settings.layer.pipe(
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ REDIS_DEADLINE: "300 millis" })))
      )
      const slow = { silenceMax: Duration.seconds(5) }
      const redis = Redis.layer(server.url, slow).pipe(Layer.provide(silent))
      const limiter = Context.get(yield* Layer.build(fromSettings.pipe(Layer.provide([settings, redis]))), Limiter)
      yield* server.freeze
      const [wait, source] = yield* Effect.timed(sourceOf(limiter, ask(5, ["t"])))
      yield* server.thaw
      assert.strictEqual(source, "shadow")
      assert.isAtLeast(Duration.toMillis(wait), 299)
    })
  )

  it.live("decides from the first request on when Redis was never there, if it is the only one", () =>
    Effect.gen(function* () {
      const nowhere = Redacted.make("redis://127.0.0.1:1")
      assert.strictEqual(yield* sourceOf(yield* instance(nowhere), ask(5, ["t"])), "shadow")
      // Among several nobody has made room for it.
      const one = yield* instance(nowhere, { fleet: 3 })
      assert.strictEqual(yield* sourceOf(one, ask(5, ["t"])), "CannotDecide")
      assert.strictEqual(yield* sourceOf(one, ask(5, ["t"], "open")), "shadow")
    })
  )

  it.live("does in an outage what each policy says", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      for (const outage of ["soft", "strict", "open", "closed"] as const) {
        assert.strictEqual(yield* sourceOf(limiter, ask(1, [outage], outage)), "redis")
      }
      yield* server.kill
      assert.strictEqual(yield* sourceOf(limiter, ask(1, ["soft"], "soft")), "no from shadow")
      assert.strictEqual(yield* sourceOf(limiter, ask(1, ["strict"], "strict")), "CannotDecide")
      assert.strictEqual(yield* sourceOf(limiter, ask(1, ["open"], "open")), "shadow")
      assert.strictEqual(yield* sourceOf(limiter, ask(1, ["closed"], "closed")), "CannotDecide")
      const soft = ask(5, ["soft and closed"], "soft")
      const both: Ask = { keys: [...soft.keys, ...ask(5, ["closed"], "closed").keys], cost: 1 }
      assert.strictEqual(yield* sourceOf(limiter, both), "CannotDecide")
      const { quotas } = yield* limiter.peek(soft)
      assert.strictEqual(quotas[0]?.remaining, 5)
    })
  )

  it.live("counts what nobody could decide, what it remembers, and what it told Redis when that was back", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      yield* server.kill
      yield* gone(limiter)
      yield* sourceOf(limiter, ask(5, ["t"]))
      assert.strictEqual(yield* sourceOf(limiter, ask(5, ["t"], "closed")), "CannotDecide")
      yield* server.start
      yield* returned(limiter)
      const undecided = { verdict: "undecided", source: "shadow" }
      assert.strictEqual(yield* count("cribwork_limits_decisions_total", undecided), 1)
      while ((yield* count("cribwork_limits_restored_decisions_total")) < 2) yield* Effect.sleep(beat)
      assert.isAtLeast(yield* count("cribwork_limits_shadow_keys"), 2)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.live("admits what it borrowed before, also under a strict policy, until the lease ends", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      const strict = new Policy({
        ...policy("strict", 2000, hour),
        outage: "strict",
        lease: { units: 20, ttl: Duration.millis(600) }
      })
      const asked: Ask = { keys: [{ policy: strict, key: ["t"] }], cost: 1 }
      while ((yield* limiter.take(asked)).source !== "lease") continue
      yield* server.kill
      yield* gone(limiter)
      assert.strictEqual(yield* sourceOf(limiter, asked), "lease")
      yield* Effect.sleep(600)
      assert.strictEqual(yield* sourceOf(limiter, asked), "CannotDecide")
    })
  )

  it.live("divides a limit among the instances that were seen, and says when the next passes", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiters = yield* Effect.all(Arr.replicate(instance(server.url), 3))
      yield* acquainted(server.url, 3)
      yield* server.kill
      const asked = ask(8, ["t"], "soft", 300_000)
      yield* Effect.forEach(limiters, gone)
      const granted = yield* Effect.forEach(limiters, (limiter) =>
        Effect.map(Effect.all(Arr.replicate(sourceOf(limiter, asked), 8)), (all) => all.filter((a) => a === "shadow"))
      )
      assert.deepStrictEqual(granted.map(({ length }) => length).toSorted(), [2, 3, 3])
      const first = limiters[0] as Limiter["Service"]
      const { reason } = yield* Effect.flip(first.take(asked))
      assert(reason._tag === "RateLimited")
      yield* Effect.sleep(Math.ceil(Duration.toMillis(reason.retryAfter)) + 1)
      assert.strictEqual(yield* sourceOf(first, asked), "shadow")
    })
  )

  it.live("knows of the others what Redis last said of them", () =>
    Effect.gen(function* () {
      const server = yield* started
      const [here, there] = [yield* instance(server.url), yield* instance(server.url)] as const
      yield* acquainted(server.url, 2)
      const asked = ask(10, ["t"])
      for (let turn = 0; turn < 8; turn++) yield* there.take(asked)
      yield* here.take(asked)
      yield* server.kill
      yield* gone(here)
      // Its share is five, of which it spent one; but nine of ten are known to be spent.
      assert.strictEqual(yield* sourceOf(here, asked), "shadow")
      assert.strictEqual(yield* sourceOf(here, asked), "no from shadow")
    })
  )

  it.live("tells Redis all it admitted, once, whatever Redis did with what it did not answer", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiters = yield* Effect.all(Arr.replicate(instance(server.url), 3))
      const client = yield* commandsTo(server.url)
      yield* acquainted(server.url, 3)
      const asked = ask(3000, ["t"])
      const brought = (turn: number): Ask => ({ ...asked, id: DecisionId.make(`brought-${turn}`) })
      const granted: Array<string> = []
      const all = (turns: number) =>
        Effect.forEach(
          limiters,
          (limiter, one) =>
            Effect.forEach(
              Arr.range(1, turns),
              (turn) =>
                limiter
                  .take(turn % 2 === 0 ? asked : brought(granted.length * 1000 + one * 100 + turn))
                  .pipe(
                    Effect.tap(({ id }) => Effect.sync(() => granted.push(id.startsWith("brought") ? `=${id}` : id)))
                  ),
              { concurrency: "unbounded" }
            ),
          { concurrency: "unbounded" }
        )
      yield* all(20)
      yield* server.freeze
      yield* all(20)
      yield* Effect.forEach(limiters, gone)
      yield* all(20)
      yield* server.thaw
      yield* Effect.forEach(limiters, returned)
      assert.deepStrictEqual(yield* counted(client, asked), granted.toSorted())
      yield* server.kill
      yield* Effect.forEach(limiters, gone)
      yield* all(20)
      yield* server.start
      yield* Effect.forEach(limiters, returned)
      yield* Effect.promise(() => client.ping())
      assert.deepStrictEqual(yield* counted(client, asked), granted.toSorted())
      yield* Effect.promise(() => client.flushall())
      yield* all(1)
      yield* acquainted(server.url, 3)
      assert.deepStrictEqual(yield* counted(client, asked), granted.toSorted())
    })
  )

  it.live("remembers what it admitted in the very decision that finds Redis emptied", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      const client = yield* commandsTo(server.url)
      const asked = ask(3, ["t"])
      for (let turn = 0; turn < 3; turn++) yield* limiter.take(asked)
      yield* Effect.promise(() => client.flushall())
      assert.strictEqual(yield* sourceOf(limiter, asked), "no from redis")
    })
  )

  it.live("takes a server that came back with an older state for what it is, as a replica that lagged", () =>
    Effect.gen(function* () {
      const server = yield* started
      const limiter = yield* instance(server.url)
      const client = yield* commandsTo(server.url)
      const asked = ask(5, ["t"])
      for (let turn = 0; turn < 3; turn++) yield* limiter.take(asked)
      yield* Effect.promise(() => client.save())
      for (let turn = 0; turn < 2; turn++) yield* limiter.take(asked)
      yield* server.kill
      yield* server.start
      // Nobody asks meanwhile, so that nothing but the connection tells.
      const source = Effect.map(Effect.exit(limiter.peek(probe)), (seen) =>
        Exit.isSuccess(seen) ? seen.value.source : ""
      )
      while ((yield* source) !== "redis") yield* Effect.sleep("2 millis")
      assert.strictEqual(yield* sourceOf(limiter, asked), "no from redis")
    })
  )

  it.live("keeps a strict limit for those whom an emptied Redis has not heard yet", () =>
    Effect.gen(function* () {
      const server = yield* started
      const windowMicros = 1_500_000
      const asked = ask(4, ["t"], "strict", windowMicros)
      const here = yield* instance(server.url)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const there = yield* instance(server.url)
          yield* acquainted(server.url, 2)
          for (let turn = 0; turn < 4; turn++) yield* there.take(asked)
        })
      )
      yield* server.kill
      yield* gone(here)
      yield* server.start
      yield* returned(here)
      // Who spent it has left and cannot tell; when all it can have spent has left the window, Redis knows all.
      assert.strictEqual(yield* sourceOf(here, asked), "CannotDecide")
      assert.strictEqual(yield* sourceOf(here, ask(4, ["u"])), "redis")
      yield* Effect.sleep(Duration.micros(BigInt(windowMicros)))
      assert.strictEqual(yield* sourceOf(here, asked), "redis")
    })
  )

  it.live("admits no more when Redis' clock is put forward or back, by one process or by two", () =>
    Effect.gen(function* () {
      const server = yield* started
      const clock = "clock"
      const connection = yield* Layer.build(Redis.layer(server.url).pipe(Layer.provide(silent)))
      const { ready, renew, use } = Context.get(connection, Redis.Redis)
      let shimmed: Client | undefined
      const stepped = Layer.succeed(Redis.Redis, {
        ready,
        renew,
        use: (deadline, command) => use(deadline, (client) => command((shimmed ??= withClock(client as Client, clock))))
      })
      const limiter = Effect.map(
        Layer.build(Layer.fresh(layerWith({ deadline: patient, shadow: windowsBounds, beat, batchMax: 1 }))),
        Context.get(Limiter)
      ).pipe(Effect.provide(stepped))
      const [here, there] = yield* Effect.all([limiter, limiter])
      yield* acquainted(server.url, 2)
      const put = (seconds: number) => use(patient, (client) => client.set(clock, seconds, "EX", 60))
      const asked: Ask = { keys: [{ policy: policy("clocked", 6, 60_000_000), key: ["t"] }], cost: 1 }
      const admitted = (limiter: Limiter["Service"], times: number) =>
        Effect.map(
          Effect.all(Arr.replicate(Effect.exit(limiter.take(asked)), times)),
          (all) => all.filter(Exit.isSuccess).length
        )
      assert.strictEqual(yield* admitted(here, 3), 3)
      assert.strictEqual(yield* admitted(there, 2), 2)
      yield* put(3600)
      // What the other spent it has not told yet; its share is held back until it has.
      assert.strictEqual(yield* admitted(here, 2), 0)
      yield* acquainted(server.url, 2)
      assert.strictEqual((yield* admitted(here, 3)) + (yield* admitted(there, 3)), 1)
      yield* put(-3600)
      assert.strictEqual((yield* admitted(here, 3)) + (yield* admitted(there, 3)), 0)
    }).pipe(Effect.scoped)
  )
})

// They wait for windows to pass, so they wait together.
describe.runIf(RedisServer.installed).concurrent("RedisLimiter across a loss (needs redis-server in the PATH)", () => {
  for (const size of [1, 3, 8]) {
    for (const outage of ["soft", "strict"] as const) {
      it.live(`keeps the declared bound of a ${outage} limit when ${size} lose an emptied Redis and get it back`, () =>
        Effect.gen(function* () {
          const server = yield* started
          const limiters = yield* Effect.all(Arr.replicate(instance(server.url), size), { concurrency: "unbounded" })
          yield* acquainted(server.url, size)
          const [limit, windowMillis] = [40, 500]
          const admitted = yield* crowd(limiters, ask(limit, ["t"], outage, windowMillis * 1000), 4)
          yield* Effect.sleep(windowMillis + 60)
          yield* server.kill
          yield* Effect.sleep(windowMillis * 0.6)
          const lost = admitted.length
          yield* server.start
          yield* Effect.sleep(windowMillis * 2)
          const worst = worstWindow(admitted, windowMillis)
          const factor = outage === "strict" ? 1 : 2 - 1 / size
          assert.isAtMost(worst, Math.floor(limit * factor))
          const alone = admitted.filter(({ source }) => source === "shadow")
          assert.isAtMost(worstWindow(alone, windowMillis), limit)
          if (outage === "strict") assert.lengthOf(alone, 0)
          assert.isAbove(admitted.length, lost) // It went on.
        })
      )
    }
  }
})
