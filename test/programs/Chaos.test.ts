/**
 * No `kill -9` charges twice, loses a charge or tells what is not so: clients under load, programs killed at
 * random, and then five accounts of the money that must agree. `CHAOS_KILLS=30 npx vitest run
 * test/programs/Chaos` hurts more.
 */
import * as fs from "node:fs"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Layer, Redacted } from "effect"

import { topic } from "../../src/domain/payments/Settlement.ts"
import * as SqlEventBus from "../../src/layers/events/SqlEventBus.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import { settings } from "../Postgres.ts"
import { databaseOf, isUp, newFolder, sourced, startSuite } from "../support/House.ts"
import { keyOf } from "../support/KeyDesk.ts"
import { endAll, processesOf, type Program, until } from "../support/Program.ts"
import { capturesOf, chargesIn, eventsOn, transfersIn, unbalancedIn, unrestIn } from "./Books.ts"
import { kills, seeds, type Stage, storm } from "./Storm.ts"

const stormMillis = 120_000 + kills * 8000

const tokens = ["tok_visa", "tok_visa", "tok_visa", "tok_declined", "tok_busy", "tok_timeout", "tok_slow"]

/** What a crash leaves is taken up again within seconds, and nothing is given up. */
const impatient = {
  PSP_TIMEOUT: "1 second",
  PSP_LEASE: "3 seconds",
  PSP_BACKOFF_BASE: "50 millis",
  PSP_BACKOFF_CAP: "1 second",
  PSP_ATTEMPTS_MAX: "1000",
  BREAKER_WINDOW: "50 millis",
  BREAKER_WINDOW_CAP: "500 millis",
  RELAY_LEASE: "1 second",
  LOG_LEVEL: "error"
}

describe("The suite under kill -9", () => {
  const folder = newFolder()
  const crashes: Array<string> = []
  let suite: Program
  let serving: Promise<unknown>
  let url = ""

  const watch = async (one: Program) => {
    const { code, signal } = await one.ended
    if (signal !== "SIGKILL") crashes.push(`the suite ended by itself with ${code ?? signal}: ${one.said}`)
  }

  const database = () => databaseOf(folder)

  const start = () => {
    const one = startSuite(folder, impatient)
    suite = one
    void watch(one)
    serving = isUp(one).then(
      () => (url = sourced(folder).url),
      () => "killed, or among the crashes"
    )
  }

  const killSuite = async (waits: boolean) => {
    await suite.stop("SIGKILL")
    start()
    if (waits) await serving
  }

  const killTwin = async () => {
    const [twin] = await until("there is a twin", 20_000, () => {
      const found = processesOf(`${folder}/twin.jsonl`).filter(({ command }) => command.includes("psp-twin"))
      return found.length > 0 && found
    })
    if (twin !== undefined) process.kill(twin.pid, "SIGKILL")
  }

  beforeAll(async () => {
    start()
    await serving
  })
  afterAll(async () => {
    await endAll()
    await until("nobody is left", 20_000, () => processesOf(folder).length === 0)
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it(
    `charges once, loses nothing and tells the truth (${kills} kills, seeds ${seeds.join(", ")})`,
    async () => {
      const bus = () =>
        SqlEventBus.layer([topic]).pipe(
          Layer.provide(Postgres.layer(Redacted.make(database()))),
          Layer.provide(settings)
        )
      const stage: Stage = {
        url: () => url,
        victims: { suite: killSuite, twin: killTwin },
        callers: [
          { tenant: "acme", apiKey: (await keyOf(database(), "acme")).apiKey },
          { tenant: "umbra", apiKey: (await keyOf(database(), "umbra")).apiKey }
        ],
        books: {
          unrest: () => unrestIn(database()),
          unbalanced: () => unbalancedIn(database()),
          accounts: async () => ({
            charges: await chargesIn(database()),
            transfers: await transfersIn(database()),
            events: await eventsOn(bus()),
            captures: await capturesOf(sourced(folder).twinUrl)
          })
        },
        crashes
      }
      assert.deepStrictEqual(await storm(stage, tokens), [])
    },
    stormMillis
  )
})
