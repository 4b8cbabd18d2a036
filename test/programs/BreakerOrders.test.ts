/** Orders about breakers where they matter: in two processes on one database, the suite and a worker beside it. */
import * as fs from "node:fs"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { DateTime } from "effect"

import { ask, charge, newKey, see } from "../support/Client.ts"
import { databaseOf, isUp, type Keys, newFolder, sourced, startSuite } from "../support/House.ts"
import { keyOf } from "../support/KeyDesk.ts"
import { endAll, processesOf, Program, until } from "../support/Program.ts"

/** By the wall clock, as those who order read it. */
const nowMillis = () => performance.timeOrigin + performance.now()

/** What is promised. */
const obeyedMillis = 2000
/** For a change to be seen: a report of it, and the questions of this test. */
const seenMillis = 10_000
/** For a program to start on a machine that does ten other things. */
const startMillis = 30_000

interface Row {
  readonly dependency: string
  readonly program: string
  readonly process: string
  readonly state: string
  readonly since_ms: number
  readonly force: { readonly state: string; readonly until: string } | null
}

const isBoth = (rows: ReadonlyArray<Row>) => {
  const told = new Set(rows.map(({ program }) => program))
  return told.has("suite") && told.has("worker")
}

const ahead = (millis: number) => DateTime.formatIso(DateTime.makeUnsafe(nowMillis() + millis))

describe("Orders about breakers, on one database", () => {
  const folder = newFolder()
  let programs: ReadonlyArray<Program> = []
  let house: Keys
  let operator: { readonly url: string; readonly apiKey: string }

  const startAll = async () => {
    const suite = startSuite(folder, { TWIN_TOKEN: "switch" })
    await isUp(suite)
    house = sourced(folder)
    const env = { DATABASE_URL: databaseOf(folder), PSP_URL: house.twinUrl, LOG_LEVEL: "warn" }
    const worker = new Program("worker", env)
    programs = [suite, worker]
    operator = { url: house.url, apiKey: operator?.apiKey ?? "" }
  }

  const pspRows = async () => {
    const { body } = await see(operator, "/v1/breakers")
    return (body["data"] as ReadonlyArray<Row>).filter(({ dependency }) => dependency === "psp")
  }

  const force = async (body: object) => {
    const answer = await ask(`${operator.url}/v1/breakers/psp/force`, {
      method: "POST",
      headers: { authorization: `Bearer ${operator.apiKey}`, "content-type": "application/json" },
      body: JSON.stringify({ reason: "a test", ...body })
    })
    assert.strictEqual(answer.status, 200, answer.text)
    return performance.now()
  }

  /** All rows once each satisfies `holds`, and when that was asked. */
  const seenAs = (what: string, holds: (row: Row) => boolean, withinMillis = seenMillis) =>
    until(what, withinMillis, async () => {
      const asked = performance.now()
      const rows = await pspRows()
      return isBoth(rows) && rows.every(holds) ? { rows, asked } : undefined
    })

  const forcedOpen = async (orderedAt: number) => {
    const { asked, rows } = await seenAs("both obey", ({ state }) => state === "forced-open")
    for (const { program, since_ms: since } of rows) assert.isAtMost(asked - since - orderedAt, obeyedMillis, program)
    return rows
  }

  beforeAll(async () => {
    await startAll()
    const scopes = ["ops:read", "ops:admin"] as const
    operator = { ...operator, ...(await keyOf(databaseOf(folder), "house", { scopes, operator: true })) }
    await seenAs("both tell of the provider", ({ state }) => state === "closed", startMillis)
  })
  afterAll(async () => {
    await endAll()
    await until("nobody is left", startMillis, () => processesOf(folder).length === 0)
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it("each obeys within two seconds: charges wait, and go on when the order is lifted", async () => {
    await forcedOpen(await force({ state: "open", until: ahead(60_000) }))
    const key = newKey()
    const waiting = await charge(house, key, { source: "tok_visa" }, 1)
    assert.strictEqual(waiting.status, 202)
    assert.strictEqual(waiting.body["operation_state"], "accepted")
    await force({ state: "auto" })
    await until("it is charged", seenMillis, async () => {
      const { status } = await charge(house, key, { source: "tok_visa" })
      return status === 201
    })
    const { rows } = await seenAs(
      "nobody is forced",
      ({ force, state }) => force === null && !state.startsWith("forced")
    )
    assert.isAtLeast(rows.length, 2)
  })

  it("an order survives the death of everybody, is obeyed by who starts, and ends by itself", async () => {
    const far = ahead(600_000)
    const before = await forcedOpen(await force({ state: "open", until: far }))
    await Promise.all(programs.map((program) => program.stop("SIGKILL")))
    await until("nobody is left", startMillis, () => processesOf(folder).length === 0)
    await startAll()

    const dead = new Set(before.map(({ process }) => process))
    const rows = await until("both are there again", startMillis, async () => {
      const rows = (await pspRows()).filter(({ process }) => !dead.has(process))
      for (const { program, state } of rows) assert.strictEqual(state, "forced-open", program)
      return isBoth(rows) && rows
    })
    for (const row of rows) assert.deepInclude(row.force, { state: "open", until: far })

    const end = nowMillis() + 3000
    await force({ state: "open", until: ahead(3000) })
    await until("the order has ended", seenMillis, async () => {
      const rows = (await pspRows()).filter(({ process }) => !dead.has(process))
      return isBoth(rows) && rows.every(({ force, state }) => force === null && !state.startsWith("forced"))
    })
    assert.isAtLeast(nowMillis(), end)
    assert.strictEqual((await charge(house, newKey(), { source: "tok_visa" }, 10)).status, 201)
  })
})
