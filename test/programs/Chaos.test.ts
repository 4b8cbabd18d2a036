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
import { describeLive } from "../support/Live.ts"
import { endAll, processesOf, type Program, until } from "../support/Program.ts"
import { members, SharedHouse } from "../support/SharedHouse.ts"
import { capturesOf, chargesIn, eventsOn, transfersIn, unbalancedIn, unrestIn } from "./Books.ts"
import { sharedStage } from "./SharedStage.ts"
import { impatient, kills, seeds, type Stage, storm } from "./Storm.ts"

const stormMillis = 120_000 + kills * 8000

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
          accounts: async () => {
            const charges = await chargesIn(database())
            return {
              charges,
              transfers: await transfersIn(database()),
              events: await eventsOn(bus(), new Set(charges.map(({ id }) => id))),
              captures: await capturesOf(sourced(folder).twinUrl)
            }
          }
        },
        crashes
      }
      assert.deepStrictEqual(await storm(stage), [])
    },
    stormMillis
  )
})

describeLive("Programs under kill -9 (postgres, redis, kafka)", ["postgres", "redis", "kafka"], (servers) => {
  let house: SharedHouse
  beforeAll(async () => {
    house = await SharedHouse.open(servers, impatient)
  })
  afterAll(async () => {
    await house.close()
    await endAll()
    await until("nobody is left", 20_000, () => processesOf(house.name).length === 0)
  })

  it(
    `charge once, lose nothing and tell the truth (${kills} kills, seeds ${seeds.join(", ")})`,
    async () => {
      const victims = members.map((member) => [member, (waits: boolean) => house.kill(member, waits)] as const)
      const stage = await sharedStage(house, servers.kafka, Object.fromEntries(victims))
      assert.deepStrictEqual(await storm(stage), [])
    },
    stormMillis
  )
})
