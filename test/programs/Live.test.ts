import * as fs from "node:fs"
import { setTimeout as pause } from "node:timers/promises"

/**
 * The programs as they run in earnest, on a Postgres, a Redis and a Kafka that others run, and what becomes of
 * charges when one of those is hurt while money moves.
 */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Layer, Redacted, Scope } from "effect"

import * as EmbeddedPostgres from "../../src/layers/platform/EmbeddedPostgres.ts"
import { postmaster } from "../../src/layers/platform/PostgresFolder.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { charge, newKey, see } from "../support/Client.ts"
import { newFolder } from "../support/House.ts"
import { keyOf } from "../support/KeyDesk.ts"
import { describeLive } from "../support/Live.ts"
import { endAll, processesOf, until } from "../support/Program.ts"
import * as RedisServer from "../support/RedisServer.ts"
import { SharedHouse } from "../support/SharedHouse.ts"
import { eventsOn } from "./Books.ts"
import { kafkaBus, sharedStage } from "./SharedStage.ts"
import { impatient, underLoad } from "./Storm.ts"
import { strangerSuite } from "./Stranger.suite.ts"

/** For a Postgres to be replaced, replaying its log, on a machine that does ten other things. */
const startMillis = 30_000
/** A storm and its aftermath. */
const stormMillis = 180_000

const shut = async (house: SharedHouse) => {
  await house.close()
  await endAll()
  await until("nobody is left", 20_000, () => processesOf(house.name).length === 0)
}

describeLive("The programs that share a database", ["postgres", "redis", "kafka"], (servers) => {
  let house: SharedHouse
  let operator = ""
  beforeAll(async () => {
    house = await SharedHouse.open(servers, {
      PSP_BACKOFF_BASE: "50 millis",
      PSP_BACKOFF_CAP: "1 second",
      PSP_ATTEMPTS_MAX: "4"
    })
    const scopes = ["charges:read", "charges:write", "ops:read", "payments:admin"] as const
    operator = (await keyOf(house.database, "acme", { scopes, operator: true })).apiKey
  })
  afterAll(() => shut(house))

  const keys = () => ({ url: house.url, apiKey: operator, twinUrl: house.twinUrl, twinToken: house.twinToken })

  strangerSuite("postgres, redis, kafka", () => ({
    ...keys(),
    database: house.database,
    announced: async (id) => {
      const events = await eventsOn(kafkaBus(servers.kafka), new Set([id]))
      assert.deepStrictEqual(
        events.filter(({ charge }) => charge === id).map(({ type, sequence }) => ({ type, sequence })),
        [{ type: "charge.succeeded", sequence: 1 }]
      )
    }
  }))

  it("tells a settled charge again from Redis", async () => {
    const hits = async () => {
      const { text } = await see(keys(), "/metrics")
      return Number(/^cribwork_payments_recalls_total\{[^}]*result="hit"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0)
    }
    const key = newKey()
    const first = await charge(keys(), key, { source: "tok_visa" }, 10)
    const before = await hits()
    assert.strictEqual((await charge(keys(), key, { source: "tok_visa" })).text, first.text)
    assert.strictEqual((await hits()) - before, 1)
  })
})

/** What a test starts as a layer or a scoped effect, until the test is over. */
const keep = async <A, E>(
  effect: Effect.Effect<A, E, Scope.Scope>,
  onTestFinished: (close: () => Promise<void>) => void
): Promise<A> => {
  const scope = Scope.makeUnsafe()
  onTestFinished(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return Effect.runPromise(Scope.provide(effect, scope))
}

const rest = () => pause(1200)

describeLive("Servers that are hurt while money moves", ["postgres", "redis", "kafka"], (servers) => {
  const open = async (some: Partial<typeof servers>, onTestFinished: (close: () => Promise<void>) => void) => {
    const house = await SharedHouse.open({ ...servers, ...some }, impatient)
    onTestFinished(() => shut(house))
    return sharedStage(house, servers.kafka)
  }

  // A Redis of the test's own is killed and frozen; where none is installed there is none to hurt.
  it.skipIf(!RedisServer.installed)(
    "a Redis that hangs, dies and comes back empty changes nothing that a client is told",
    async ({ onTestFinished }) => {
      const redis = await keep(RedisServer.make, onTestFinished)
      await Effect.runPromise(redis.start)
      const stage = await open({ redis: Redacted.value(redis.url) }, onTestFinished)
      const { crowd, wrong } = await underLoad(stage, async () => {
        for (const fault of [redis.freeze, redis.thaw, redis.kill, redis.start, redis.freeze, redis.kill]) {
          await rest()
          await Effect.runPromise(fault)
        }
        await rest()
      })
      assert.deepStrictEqual(wrong, [])
      const told = new Set(["201", "202", "402", "409"])
      assert.deepStrictEqual(
        [...crowd.seen.keys()].filter((kind) => !told.has(kind)),
        []
      )
      assert.isAtLeast(crowd.intents.length, 50)
    },
    stormMillis
  )

  it(
    "a Postgres that is restarted and killed costs a client nothing but some 503s",
    async ({ onTestFinished }) => {
      const folder = newFolder()
      onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }))
      const own = EmbeddedPostgres.layer({ fresh: true, durable: true }).pipe(
        Layer.provide(Settings.layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ CRIBWORK_DATA: folder })))
      )
      const context = await keep(Layer.build(own), onTestFinished)
      const postgres = Redacted.value(Context.get(context, EmbeddedPostgres.PostgresUrl))
      const stage = await open({ postgres }, onTestFinished)
      const { crowd, wrong } = await underLoad(stage, async () => {
        for (const name of ["SIGINT", "SIGKILL", "SIGINT", "SIGQUIT"] as const) {
          await rest()
          const pid = await until("Postgres is there", startMillis, () => postmaster(`${folder}/postgres`))
          process.kill(pid, name)
          await until("it has left", startMillis, () => postmaster(`${folder}/postgres`) !== pid)
        }
        await rest()
      })
      assert.deepStrictEqual(wrong, [])
      const told = new Set(["201", "202", "402", "409", "503"])
      assert.deepStrictEqual(
        [...crowd.seen.keys()].filter((kind) => !told.has(kind)),
        []
      )
      assert.isAbove(crowd.seen.get("503") ?? 0, 0)
    },
    stormMillis
  )
})
