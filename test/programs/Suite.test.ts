/** The suite as a stranger meets it: a process, `dev.env`, plain requests, signals. */
import * as fs from "node:fs"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

import { type Answer, ask, charge, newKey, see } from "../support/Client.ts"
import { databaseOf, devEnv, isUp, type Keys, newFolder, sourced, startSuite } from "../support/House.ts"
import { endAll, processesOf, Program, until } from "../support/Program.ts"
import { capturedBy, problem, strangerSuite } from "./Stranger.suite.ts"

/** How long Postgres and the twin may take to follow a suite that said nothing before it died. */
const followMillis = 15_000

const folder = newFolder()
const env = { TWIN_TOKEN: "switch", PSP_BACKOFF_BASE: "50 millis", PSP_BACKOFF_CAP: "1 second", PSP_ATTEMPTS_MAX: "4" }

const start = async (args: ReadonlyArray<string> = []) => {
  const suite = startSuite(folder, env, args)
  await isUp(suite)
  return suite
}

const nobodyIsLeft = () => until("nobody is left", followMillis, () => processesOf(folder).length === 0)

/** A charge whose answer takes the provider three seconds, on its way. */
const onItsWay = async (of: Keys) => {
  const key = newKey()
  const answer = charge(of, key, { source: "tok_slow" }, 20).catch((error: unknown) => error)
  await until("it is accepted", 5000, async () => (await see(of, `/v1/idempotency/${key}`)).status === 200)
  return { key, answer }
}

describe("The suite", () => {
  let suite: Program
  let house: Keys
  beforeAll(async () => {
    suite = await start()
    house = sourced(folder)
  })
  afterAll(async () => {
    await endAll()
    await nobodyIsLeft()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it("writes what a script needs where only its owner reads it", () => {
    assert.strictEqual(fs.statSync(devEnv(folder)).mode & 0o777, 0o600)
    assert.match(house.url, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.match(house.twinUrl, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.match(house.apiKey, /^cw_/)
    assert.strictEqual(house.twinToken, "switch")
  })

  strangerSuite("the suite", () => ({
    ...house,
    database: databaseOf(folder),
    announced: async (id) => {
      await suite.hears(new RegExp(`payments\\.v1 charge\\.succeeded ${id}`))
    }
  }))

  // From here on it is stopped and started, each time in another way.

  /** Well before the answer that is in flight. */
  const takesNoMore = (withinMillis: number) =>
    until("it takes no more", withinMillis, () =>
      ask(`${house.url}/health/live`).then(
        () => false,
        () => true
      )
    )

  it("answers what is in flight when it is told to stop, and leaves nobody behind", async () => {
    const { answer } = await onItsWay(house)
    suite.signal("SIGTERM")
    await takesNoMore(1500)
    assert.deepStrictEqual(await suite.ended, { code: 0, signal: null })
    assert.deepStrictEqual(processesOf(folder), [])
    const answered = (await answer) as Answer
    assert.strictEqual(answered.status, 201)
    assert.strictEqual(answered.body["operation_state"], "succeeded")
  })

  it("forgets nothing when it starts again, also not its key", async () => {
    suite = await start()
    const again = sourced(folder)
    assert.strictEqual(again.apiKey, house.apiKey)
    house = again
    const page = await see(house, "/v1/charges?limit=100")
    const states = (page.body["data"] as ReadonlyArray<{ operation_state: string }>).map((one) => one.operation_state)
    assert.lengthOf(
      states.filter((state) => state !== "succeeded"),
      1
    ) // The declined one.
    const ofOtherTenant = 1
    assert.strictEqual((await capturedBy(house)).data.length, states.length - 1 + ofOtherTenant)
  })

  it("does not start twice on one folder, nor on a taken port, nor on a wrong setting, and says why", async () => {
    const [elsewhere, nowhere] = [newFolder(), newFolder()]
    const taken = new URL(house.url).port
    const twice = startSuite(folder, env)
    const late = startSuite(elsewhere, { PORT: taken })
    const wrong = startSuite(nowhere, { PSP_LEASE: "soon", DATABASE_URL: "mysql://root:hunter2@db" })

    assert.deepStrictEqual(await twice.ended, { code: 1, signal: null })
    assert.include(twice.said, `process ${suite.pid} runs on it`)

    assert.deepStrictEqual(await late.ended, { code: 1, signal: null })
    assert.match(late.said, new RegExp(`suite: .*${taken}.*Set PORT`))
    assert.deepStrictEqual(processesOf(elsewhere), [])

    assert.deepStrictEqual(await wrong.ended, { code: 2, signal: null })
    assert.match(wrong.said, /PSP_LEASE must be a duration/)
    assert.match(wrong.said, /DATABASE_URL must be a URL/)
    assert.notInclude(wrong.said, "hunter2")
    assert.deepStrictEqual(processesOf(nowhere), [])
    fs.rmSync(nowhere, { recursive: true })
    fs.rmSync(elsewhere, { recursive: true })

    assert.strictEqual((await see(house, "/health/ready")).status, 200)
  })

  it("drains on Ctrl-C, though npm forwards it once more, and ends at once when asked again", async () => {
    const { answer } = await onItsWay(house)
    const began = performance.now()
    suite.signal("SIGINT")
    await takesNoMore(1500)
    suite.signal("SIGINT")
    // A person needs longer than this to ask again.
    while (performance.now() - began < 600) await new Promise((resolve) => setTimeout(resolve, 20))
    assert.isTrue(suite.runs)
    assert.deepStrictEqual(await suite.stop("SIGINT"), { code: 130, signal: null })
    assert.isBelow(performance.now() - began, 2500)
    await nobodyIsLeft()
    assert.instanceOf(await answer, Error)
  })

  it("leaves nobody behind when it is killed, and starts again on what it had", async () => {
    suite = await start()
    house = sourced(folder)
    const key = newKey()
    const told = await charge(house, key, { source: "tok_visa", amount: 6001 }, 10)
    assert.deepStrictEqual(await suite.stop("SIGKILL"), { code: null, signal: "SIGKILL" })
    await nobodyIsLeft()
    suite = await start()
    house = sourced(folder)
    assert.strictEqual((await charge(house, key, { source: "tok_visa", amount: 6001 })).text, told.text)
  })

  it("starts from nothing when asked for it", async () => {
    assert.deepStrictEqual(await suite.stop("SIGINT"), { code: 0, signal: null })
    assert.deepStrictEqual(processesOf(folder), [])
    suite = await start(["--fresh"])
    const fresh = sourced(folder)
    assert.notStrictEqual(fresh.apiKey, house.apiKey)
    assert.deepStrictEqual((await see(fresh, "/v1/charges")).body["data"], [])
    problem(await see({ ...fresh, apiKey: house.apiKey }, "/v1/charges"), 401, "unauthenticated")
  })
})

describe("The programs that share a database", () => {
  /** Nobody listens there, and nobody is asked: a missing setting is told before anything is reached. */
  const nowhere = "postgres://nobody@127.0.0.1:9/nothing"

  it("do not start without their servers, and name the first one that is missing", async () => {
    const cases = [
      { name: "api", env: {}, missing: "DATABASE_URL" },
      { name: "api", env: { DATABASE_URL: nowhere }, missing: "PSP_URL" },
      { name: "worker", env: { PSP_URL: "http://127.0.0.1:9" }, missing: "DATABASE_URL" },
      { name: "worker", env: { DATABASE_URL: nowhere }, missing: "PSP_URL" },
      { name: "relay", env: { KAFKA_BROKERS: "127.0.0.1:9" }, missing: "DATABASE_URL" },
      { name: "relay", env: { DATABASE_URL: nowhere }, missing: "KAFKA_BROKERS" },
      { name: "migrate", env: {}, missing: "DATABASE_URL" }
    ]
    const programs = cases.map(({ name, env }) => new Program(name, env))
    for (const [at, { name, missing }] of cases.entries()) {
      const program = programs[at]
      assert.deepStrictEqual(await program?.ended, { code: 2, signal: null }, name)
      assert.match(program?.said ?? "", new RegExp(`${missing} must be set`), name)
    }
  })
})
