import { execFile } from "node:child_process"
import { randomUUID } from "node:crypto"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Context, Duration, Effect, Exit, Layer, Logger, Redacted, Schema } from "effect"

import { DecisionId, impossible, Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, AskKey } from "../../src/domain/limits/Limiter.ts"
import { Policy } from "../../src/domain/limits/Policy.ts"
import { Batch, kinds } from "../../src/layers/limits/Batch.ts"
import type { Answer, Kind } from "../../src/layers/limits/Batch.ts"
import { Ids } from "../../src/layers/limits/Ids.ts"
import { keyName } from "../../src/layers/limits/KeyName.ts"
import { layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import { Script } from "../../src/layers/limits/Script.ts"
import type { Named } from "../../src/layers/limits/Shadow.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"
import { describeLive } from "../support/Live.ts"
import { beat, crowd, instance, worstWindow } from "./Crowd.ts"
import { limiterSuite } from "./Limiter.suite.ts"
import { askOf, Model, policy, reasonOf, Steps } from "./Model.ts"

const ids = new Ids("test")
const deciding = new Script<Answer>("decide.lua")
type Step = Named & { readonly kind: Kind }

const silent = Logger.layer([])

/** Long enough that a busy machine decides in Redis all the same. */
const patient = Duration.seconds(5)
const limiterOn = (url: Redacted.Redacted, deadline = patient) =>
  layerWith({ deadline, shadow: windowsBounds, beat }).pipe(
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

const refusalOf = (answer: Parameters<typeof reasonOf>[0]) => {
  const reason = reasonOf(answer)
  assert(reason._tag === "RateLimited")
  return reason
}

// A timer may fire within a millisecond before its time.
const passTime = (duration: Duration.Duration) => Effect.sleep(Math.ceil(Duration.toMillis(duration)) + 1)

describeLive("Limiter (redis)", ["redis"], ({ redis }) => {
  const live = limiterOn(Redacted.make(redis))
  limiterSuite("redis", live, passTime, it.live)

  it.live.prop(
    "the script answers every history of asks as the pure model does, alone and in batches",
    { steps: Steps },
    ({ steps }) =>
      Effect.gen(function* () {
        const model = new Model()
        const prefix = randomUUID()
        let batch = new Batch<Step>()
        const depart = Effect.gen(function* () {
          const sent = batch
          batch = new Batch<Step>()
          const answer = yield* send((client) =>
            deciding.run(
              client,
              sent.keys(epoch),
              sent.values(prefix, 0, ids, ({ limit }) => limit)
            )
          )
          assert.strictEqual(answer[0], 1)
          sent.read(answer, ids, ({ ask, kind }, { decision }) =>
            model.expect(ask, decision, answer[1], kind === kinds.look)
          )
        })
        const epoch = `{${prefix}}:.epoch`
        yield* send((client) => client.set(epoch, prefix, "EX", 60))
        for (const [id, step] of steps.entries()) {
          if (step.pauseMicros > 0) {
            yield* depart
            yield* Effect.sleep(Duration.micros(BigInt(step.pauseMicros)))
          }
          const ask = askOf(step, prefix)
          if (impossible(ask) !== undefined) continue
          const kind = step.peek ? kinds.look : kinds.fresh
          assert.isTrue(batch.add({ ask, names: ask.keys.map(keyName), id, kind }))
        }
        yield* depart
      }).pipe(Effect.provide(live)),
    { arbitrary: { runs: 60 } }
  )

  it.live("admits exactly the limit to processes that know nothing of each other", () =>
    Effect.gen(function* () {
      const key = randomUUID()
      const program = fileURLToPath(new URL("./Taker.ts", import.meta.url))
      const taken = Effect.promise(async () => {
        const { stdout } = await promisify(execFile)(process.execPath, [program, redis, key, "137", "100"])
        return Number(stdout)
      })
      const counts = yield* Effect.all(Arr.replicate(taken, 3), { concurrency: "unbounded" })
      assert.strictEqual(
        counts.reduce((sum, count) => sum + count, 0),
        137
      )
    })
  )

  it.live("admits exactly the limit to many callers on many connections", () =>
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

  it.live("charges a decision once that several processes ask for at the same time", () =>
    Effect.gen(function* () {
      const asked = { ...ask(10, [randomUUID()], 3), id: DecisionId.make("same") }
      const processes = yield* Effect.all(Arr.replicate(Layer.build(Layer.fresh(live)), 2))
      const takes = processes.flatMap((services) => Arr.replicate(Context.get(services, Limiter).take(asked), 3))
      const answers = yield* Effect.all(takes, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers.map(({ quotas }) => quotas[0]?.remaining),
        Arr.replicate(7, 6)
      )
    })
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
      const open = new Policy({ ...policy("live", 5, hour), outage: "open" })
      const asked: Ask = { keys: [{ policy: open, key: [randomUUID()] }], cost: 1 }
      yield* send((client) => client.set(keyName(asked.keys[0]), "not ours", "EX", 60))
      assert.strictEqual((yield* Limiter.use((limiter) => limiter.take(asked))).source, "shadow")
    }).pipe(Effect.provide(live))
  )

  it.live("refuses from memory only what Redis refuses too", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const tenant = randomUUID()
      const keys: ReadonlyArray<AskKey> = [
        { policy: policy("narrow", 3, 30_000), key: [tenant, "a"] },
        { policy: policy("wide", 7, 90_000), key: [tenant] }
      ]
      const fromMemory: Array<number> = []
      let slowest = 0
      const epoch = "{cribwork:limits}:.epoch"
      const known = yield* send((client) => client.get(epoch))
      for (let turn = 0; turn < 400; turn++) {
        const cost = 1 + (turn % 3)
        const asked: Ask = { keys: [keys[turn % 2] as AskKey, ...keys], cost }
        const [took, taken] = yield* Effect.timed(Effect.exit(limiter.take(asked)))
        slowest = Math.max(slowest, Duration.toMillis(took))
        if (Exit.isFailure(taken) && refusalOf(taken).source === "denied-cache") {
          const look = new Batch<Step>()
          look.add({ ask: asked, names: asked.keys.map(keyName), id: turn, kind: kinds.look })
          const [elapsed, answer] = yield* Effect.timed(
            send((client) =>
              deciding.run(
                client,
                look.keys(epoch),
                look.values(known ?? "", 0, ids, ({ limit }) => limit)
              )
            )
          )
          const wait = Duration.toMillis(refusalOf(taken).retryAfter)
          look.read(answer, ids, (_, { decision }) => {
            fromMemory.push(wait)
            // It may have been freed on the way; a refusal of `Denials` itself is held against the model elsewhere.
            if (wait > Duration.toMillis(elapsed) + slowest) assert.isTrue(Exit.isFailure(decision))
          })
        }
        yield* Effect.sleep(turn % 5 === 0 ? 2 : 0)
      }
      assert.isAbove(fromMemory.length, 40)
    }).pipe(Effect.provide(live))
  )

  it.live("forgets a refusal when this process gives a unit back, or resets the key", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter
      const asked = ask(1, [randomUUID()])
      const { id } = yield* limiter.take(asked)
      for (const source of ["redis", "denied-cache", "denied-cache"]) {
        assert.strictEqual(refusalOf(yield* Effect.exit(limiter.take(asked))).source, source)
      }
      yield* limiter.refund({ ...asked, id })
      yield* limiter.take(asked)
      yield* Effect.flip(limiter.take(asked))
      yield* limiter.reset(asked.keys)
      yield* limiter.take(asked)
    }).pipe(Effect.provide(live))
  )

  it.live("lends a hot key's units without ever passing the limit, and takes back what was not used", () =>
    Effect.gen(function* () {
      const windowMillis = 400
      const leased = new Policy({
        ...policy("leased", 400, windowMillis * 1000),
        lease: { units: 40, ttl: Duration.millis(100) }
      })
      const asked: Ask = { keys: [{ policy: leased, key: [randomUUID()] }], cost: 1 }
      const limiters = yield* Effect.all(Arr.replicate(instance(Redacted.make(redis), { deadline: patient }), 3))
      const admitted = yield* Effect.scoped(
        Effect.gen(function* () {
          const admitted = yield* crowd(limiters, asked, 1)
          yield* Effect.sleep(windowMillis * 4)
          return admitted
        })
      )
      assert.isAtMost(worstWindow(admitted, windowMillis), leased.limit)
      assert.isAbove(admitted.filter(({ source }) => source === "lease").length, admitted.length / 3)
      // Four windows hold four limits; what was lent and not used is there for the others.
      assert.isAbove(admitted.length, leased.limit * 2.5)
      yield* Effect.sleep(windowMillis + 150)
      const { quotas } = yield* limiters[0].peek(asked)
      assert.strictEqual(quotas[0]?.remaining, leased.limit)
    }).pipe(Effect.scoped)
  )

  it.live("takes a unit back into the lease it came from", () =>
    Effect.gen(function* () {
      const leased = new Policy({ ...policy("lent", 2000, hour), lease: { units: 20, ttl: Duration.seconds(30) } })
      const asked: Ask = { keys: [{ policy: leased, key: [randomUUID()] }], cost: 1 }
      const limiter = yield* instance(Redacted.make(redis), { deadline: patient })
      let grant = yield* limiter.take(asked)
      while (grant.source !== "lease") grant = yield* limiter.take(asked)
      const left = grant.quotas[0]?.remaining
      assert.strictEqual(yield* limiter.refund({ ...asked, id: grant.id }), 1)
      assert.strictEqual(yield* limiter.refund({ ...asked, id: grant.id }), 0)
      assert.strictEqual((yield* limiter.take(asked)).quotas[0]?.remaining, left)
    }).pipe(Effect.scoped)
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
