/** What people see of a house whose provider becomes slow, then dead, and comes back, while charges flow. */
import * as fs from "node:fs"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

import { type Answer, ask, charge, newKey, see } from "../support/Client.ts"
import { databaseOf, isUp, type Keys, newFolder, sourced, startSuite } from "../support/House.ts"
import { keyOf } from "../support/KeyDesk.ts"
import { endAll, processesOf, until } from "../support/Program.ts"
import { capturedBy } from "./Stranger.suite.ts"

/** For something to be seen on a machine that does ten other things. */
const seenMillis = 30_000

const env = {
  TWIN_TOKEN: "switch",
  PSP_TIMEOUT: "3 seconds",
  PSP_BACKOFF_BASE: "50 millis",
  PSP_BACKOFF_CAP: "500 millis",
  PSP_ATTEMPTS_MAX: "100",
  BREAKER_FAILURES: "3",
  BREAKER_WINDOW: "500 millis",
  BREAKER_WINDOW_CAP: "2 seconds"
}

const told = ({ body, status }: Answer) => [status, body["type"] ?? body["stale"]]

describe("A house whose provider goes down", () => {
  const folder = newFolder()
  let house: Keys
  let watcher: { readonly url: string; readonly apiKey: string }
  /** Accepted while the provider was not there. */
  const waiting: Array<string> = []

  const twinIs = async (answers: boolean, delay: number) => {
    const { status, text } = await ask(`${house.twinUrl}/_twin/health`, {
      method: "PUT",
      headers: { authorization: `Bearer ${house.twinToken}` },
      body: JSON.stringify({ answers, delay_ms: delay })
    })
    assert.strictEqual(status, 200, text)
  }
  const source = (token: string, headers: Record<string, string> = {}): Promise<Answer> =>
    ask(`${house.url}/v1/sources/${token}`, { headers: { authorization: `Bearer ${watcher.apiKey}`, ...headers } })
  const psp = async () => {
    const rows = (await see(watcher, "/v1/breakers")).body["data"] as ReadonlyArray<Record<string, unknown>>
    return rows.map(({ dependency, state }) => `${String(dependency)} ${String(state)}`)
  }

  beforeAll(async () => {
    await isUp(startSuite(folder, env))
    house = sourced(folder)
    const key = await keyOf(databaseOf(folder), "acme", { scopes: ["charges:read", "charges:write", "ops:read"] })
    watcher = { url: house.url, apiKey: key.apiKey }
  })
  afterAll(async () => {
    await endAll()
    await until("nobody is left", seenMillis, () => processesOf(folder).length === 0)
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it("charges, and shows cards as the provider tells them", async () => {
    assert.strictEqual((await charge(watcher, newKey(), { source: "tok_visa" }, 10)).status, 201)
    assert.deepStrictEqual(told(await source("tok_visa")), [200, false])
  })

  it("charges a provider that is slow, and lets readers in a hurry have what was known", async () => {
    await twinIs(true, 1500)
    const charged = charge(watcher, newKey(), { source: "tok_visa" }, 20)
    const shown = await source("tok_visa")
    assert.deepStrictEqual([...told(shown), shown.body["last4"]], [200, true, "4242"])
    assert.isAbove(Number(shown.body["age_ms"]), 0)
    assert.deepStrictEqual(told(await source("tok_busy")), [200, false], "nothing was known, so it waited")
    assert.strictEqual((await charged).status, 201)
  })

  it("accepts charges for a provider that is dead, says who is to blame, and shows old cards for what they are", async () => {
    await twinIs(false, 0)
    for (let n = 0; n < 8; n++) waiting.push(newKey())
    const accepted = await Promise.all(
      waiting.map((key, n) => charge(watcher, key, { source: "tok_visa", amount: 7000 + n }, 1))
    )
    for (const { body, status } of accepted) {
      assert.deepStrictEqual([status, body["operation_state"] === "succeeded"], [202, false])
    }
    await until("its breaker is open, and on top", seenMillis, async () => (await psp())[0] === "psp open")
    assert.deepStrictEqual(told(await source("tok_visa")), [200, true])
    const unknown = await until("it is not asked", seenMillis, async () => {
      const answer = await source("tok_slow")
      return answer.body["type"] === "/problems/dependency-unavailable" && answer
    })
    assert.deepStrictEqual([unknown.status, unknown.body["dependency"], unknown.body["path"]], [503, "psp", ["psp"]])
    assert.isTrue(unknown.headers.has("retry-after"))
    const hurried = await source("tok_slow", { "x-cribwork-deadline-ms": "2000" })
    assert.deepStrictEqual(told(hurried), [503, "/problems/deadline-too-short"])
    assert.strictEqual((await ask(`${house.url}/health/ready`)).status, 200, "a dead provider is no reason to go away")
  })

  it("comes back little by little, and every charge is made once", async () => {
    const steps: Array<string> = []
    await twinIs(true, 0)
    await until("it is closed again", seenMillis, async () => {
      const state = (await psp()).find((row) => row.startsWith("psp")) ?? ""
      if (steps.at(-1) !== state) steps.push(state)
      return state === "psp closed"
    })
    assert.include(steps, "psp ramping", steps.join(", "))
    for (const key of waiting) {
      await until("it is charged", seenMillis, async () => {
        const { body } = await see(watcher, `/v1/idempotency/${key}`)
        return body["operation_state"] === "succeeded" || body["state"] === "succeeded"
      })
    }
    assert.deepStrictEqual(told(await source("tok_slow")), [200, false])
    const amounts = (await capturedBy(house)).data.map(({ amount }) => amount).filter((amount) => amount >= 7000)
    assert.deepStrictEqual(
      amounts.toSorted((a, b) => a - b),
      waiting.map((_, n) => 7000 + n)
    )
  })
})
