/** The suite as a stranger meets it: a process, `dev.env`, plain requests, signals. */
import * as fs from "node:fs"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"

import { type Answer, ask, charge, newKey, see } from "../support/Client.ts"
import { databaseOf, devEnv, isUp, type Keys, newFolder, sourced, startSuite } from "../support/House.ts"
import { keyOf, revoke } from "../support/KeyDesk.ts"
import { endAll, processesOf, Program, until } from "../support/Program.ts"

/** How long Postgres and the twin may take to follow a suite that said nothing before it died. */
const followMillis = 15_000
/** How late a revocation may act. */
const revokedMillis = 2000

const folder = newFolder()
const env = { TWIN_TOKEN: "switch", PSP_BACKOFF_BASE: "50 millis", PSP_BACKOFF_CAP: "1 second", PSP_ATTEMPTS_MAX: "4" }

const start = async (args: ReadonlyArray<string> = []) => {
  const suite = startSuite(folder, env, args)
  await isUp(suite)
  return suite
}

const nobodyIsLeft = () => until("nobody is left", followMillis, () => processesOf(folder).length === 0)

const problem = (answer: Answer, status: number, name: string) => {
  assert.strictEqual(answer.status, status, answer.text)
  assert.strictEqual(answer.body["type"], `/problems/${name}`)
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/)
  assert.match(answer.headers.get("x-request-id") ?? "", /^[A-Za-z0-9._-]{1,64}$/)
}

interface Captured {
  readonly data: ReadonlyArray<{ readonly amount: number; readonly source: string; readonly sends: number }>
}
const capturedBy = async (house: Keys) => JSON.parse((await ask(`${house.twinUrl}/_twin/payments`)).text) as Captured

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

  it("charges once, says it on the bus, and tells the same bytes again", async () => {
    const key = newKey()
    const first = await charge(house, key, { source: "tok_visa", amount: 4242 }, 10)
    assert.strictEqual(first.status, 201, first.text)
    assert.strictEqual(first.body["operation_state"], "succeeded")
    assert.isNull(first.headers.get("idempotent-replayed"))
    const again = await charge(house, key, { source: "tok_visa", amount: 4242 })
    assert.strictEqual(again.status, 201)
    assert.strictEqual(again.text, first.text)
    assert.strictEqual(again.headers.get("idempotent-replayed"), "true")
    const id = String(first.body["id"])
    assert.strictEqual(first.headers.get("location"), `/v1/charges/${id}`)
    assert.strictEqual((await see(house, `/v1/charges/${id}`)).text, first.text)
    await suite.hears(new RegExp(`payments\\.v1 charge\\.succeeded ${id}`))
    assert.lengthOf(
      (await capturedBy(house)).data.filter(({ amount }) => amount === 4242),
      1
    )
  })

  it("refuses what is wrong with a request, each with its problem", async () => {
    const key = newKey()
    await charge(house, key, { source: "tok_visa" }, 10)
    problem(await charge(house, key, { source: "tok_visa", amount: 1051 }), 422, "idempotency-key-reused")
    problem(await charge(house, "", { source: "tok_visa" }), 400, "idempotency-key-missing")
    problem(await charge(house, "not-a-uuid", { source: "tok_visa" }), 400, "idempotency-key-invalid")
    problem(await charge({ ...house, apiKey: "cw_nobody" }, newKey(), { source: "tok_visa" }), 401, "unauthenticated")
    problem(await ask(`${house.url}/v1/charges`), 401, "unauthenticated")
    problem(await see(house, "/v1/nothing"), 404, "not-found")
    const wrongMethod = await ask(`${house.url}/v1/charges`, { method: "DELETE" })
    problem(wrongMethod, 405, "method-not-allowed")
    assert.sameMembers((wrongMethod.headers.get("allow") ?? "").split(", "), ["GET", "HEAD", "OPTIONS", "POST"])
    const headers = {
      authorization: `Bearer ${house.apiKey}`,
      "content-type": "application/json",
      "idempotency-key": newKey()
    }
    const large = JSON.stringify({ amount: 1, currency: "USD", source: "x".repeat(2 * 1024 * 1024) })
    problem(await ask(`${house.url}/v1/charges`, { method: "POST", headers, body: large }), 413, "payload-too-large")
    problem(await ask(`${house.url}/v1/charges`, { method: "POST", headers, body: "{" }), 400, "malformed-json")
  })

  it("closes the door to a revoked key within two seconds, though the key was just used", async () => {
    const { id, apiKey } = await keyOf(databaseOf(folder), "revoked")
    const caller = { url: house.url, apiKey }
    assert.strictEqual((await see(caller, "/v1/charges")).status, 200)
    await revoke(databaseOf(folder), id)
    await until("the key opens nothing", revokedMillis, async () => (await see(caller, "/v1/charges")).status === 401)
  })

  it("tells a key of the small plan when it may come back", async () => {
    const { apiKey } = await keyOf(databaseOf(folder), "small", { plan: "small" })
    const caller = { url: house.url, apiKey }
    const statuses = []
    for (let n = 0; n < 5; n++) statuses.push((await see(caller, "/v1/charges")).status)
    assert.deepStrictEqual(statuses, [200, 200, 200, 200, 200])
    const refused = await see(caller, "/v1/charges")
    problem(refused, 429, "quota-exceeded")
    assert.isAtLeast(Number(refused.headers.get("retry-after")), 1)
  })

  it("keeps tenants apart: neither a charge nor a key of one exists for the other", async () => {
    const key = newKey()
    const ours = await charge(house, key, { source: "tok_visa", amount: 777 }, 10)
    const { apiKey } = await keyOf(databaseOf(folder), "other")
    const other = { url: house.url, apiKey }
    problem(await see(other, `/v1/charges/${String(ours.body["id"])}`), 404, "charge-not-found")
    const theirs = await charge(other, key, { source: "tok_visa", amount: 778 }, 10)
    assert.strictEqual(theirs.status, 201, theirs.text)
    assert.notStrictEqual(theirs.body["id"], ours.body["id"])
  })

  it("tells a decline, and tells it again", async () => {
    const key = newKey()
    const declined = await charge(house, key, { source: "tok_declined" }, 10)
    problem(declined, 402, "card-declined")
    assert.strictEqual(declined.body["operation_state"], "failed")
    assert.isTrue(declined.body["safe_new_key"])
    assert.strictEqual((await charge(house, key, { source: "tok_declined" })).text, declined.text)
  })

  it("captures once whatever the provider's answers are like, and comes back when it is told to", async () => {
    const tokens = [
      { source: "tok_busy", amount: 5001, sends: 3, millisMin: 2000 },
      { source: "tok_timeout", amount: 5002, sends: 1, millisMin: 0 },
      { source: "tok_slow", amount: 5003, sends: 1, millisMin: 3000 }
    ]
    await Promise.all(
      tokens.map(async ({ source, amount, millisMin }) => {
        const began = performance.now()
        const answer = await charge(house, newKey(), { source, amount }, 20)
        assert.strictEqual(answer.status, 201, answer.text)
        assert.isAtLeast(performance.now() - began, millisMin, source)
      })
    )
    const captured = (await capturedBy(house)).data.filter(({ amount }) => amount > 5000 && amount < 5004)
    assert.sameDeepMembers(
      captured.map(({ source, amount, sends }) => ({ source, amount, sends })),
      tokens.map(({ source, amount, sends }) => ({ source, amount, sends }))
    )
  })

  it("buries what the provider keeps refusing, and carries it out when it is redriven", async () => {
    const key = newKey()
    const answer = await charge(house, key, { source: "tok_dead", amount: 5004 })
    assert.strictEqual(answer.status, 202)
    const id = String(answer.body["id"])
    const state = async () => (await see(house, `/v1/charges/${id}`)).body["operation_state"]
    await until("it needs review", 20_000, async () => (await state()) === "needs_review")
    const turned = await ask(`${house.twinUrl}/_twin/tokens/tok_dead`, {
      method: "POST",
      headers: { authorization: `Bearer ${house.twinToken}`, "content-type": "application/json" },
      body: JSON.stringify({ alive: true })
    })
    assert.strictEqual(turned.status, 200, turned.text)
    const redriven = await ask(`${house.url}/v1/dead-letters/charges/redrive`, {
      method: "POST",
      headers: { authorization: `Bearer ${house.apiKey}`, "content-type": "application/json" },
      body: JSON.stringify({ charges: [id], reason: "the token lives again" })
    })
    assert.strictEqual(redriven.status, 200, redriven.text)
    await until("it has succeeded", 20_000, async () => (await state()) === "succeeded")
    assert.strictEqual((await charge(house, key, { source: "tok_dead", amount: 5004 })).status, 201)
    assert.lengthOf(
      (await capturedBy(house)).data.filter(({ amount }) => amount === 5004),
      1
    )
  })

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
