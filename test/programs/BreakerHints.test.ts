/** A house that has a Redis tells other processes over it that its provider is down. */
import * as fs from "node:fs"

import { afterAll, assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Redacted, Stream } from "effect"

import * as RedisHints from "../../src/layers/breakers/RedisHints.ts"
import * as RedisSubscriber from "../../src/layers/platform/RedisSubscriber.ts"
import { ask, charge, newKey } from "../support/Client.ts"
import { isUp, newFolder, sourced, startSuite } from "../support/House.ts"
import { endAll, processesOf, until } from "../support/Program.ts"
import * as RedisServer from "../support/RedisServer.ts"

/** For a program to start on a machine that does ten other things. */
const startMillis = 60_000

// It needs a Redis that nobody else talks over, so it starts one of its own.
describe.runIf(RedisServer.installed)("A house with a Redis (needs redis-server in the PATH)", () => {
  const folder = newFolder()
  afterAll(async () => {
    await endAll()
    await until("nobody is left", startMillis, () => processesOf(folder).length === 0)
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it.live(
    "tells the others that its provider is down",
    () =>
      Effect.gen(function* () {
        const server = yield* RedisServer.started
        const ear = yield* Layer.build(RedisSubscriber.layer(server.url))
        const { messages } = Context.get(ear, RedisSubscriber.RedisSubscriber)
        const first = yield* Effect.forkScoped(Stream.runHead(messages(RedisHints.channel)), { startImmediately: true })
        yield* Effect.promise(async () => {
          const suite = startSuite(folder, {
            REDIS_URL: Redacted.value(server.url),
            TWIN_TOKEN: "switch",
            PSP_BACKOFF_BASE: "50 millis",
            PSP_BACKOFF_CAP: "500 millis",
            BREAKER_FAILURES: "1"
          })
          await isUp(suite)
          const house = sourced(folder)
          await ask(`${house.twinUrl}/_twin/health`, {
            method: "PUT",
            headers: { authorization: `Bearer ${house.twinToken}` },
            body: JSON.stringify({ answers: false, delay_ms: 0 })
          })
          assert.strictEqual((await charge(house, newKey(), { source: "tok_visa" })).status, 202)
        })
        const told = Option.getOrThrow(yield* Fiber.join(first))
        assert.match(told, /^\{"by":"[a-z0-9]+","opened":"psp"\}$/)
      }),
    startMillis
  )
})
