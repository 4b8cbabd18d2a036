/** What a stranger with a key sees over HTTP, whichever stack is behind it. */
import { assert, describe, it } from "@effect/vitest"

import { type Answer, ask, charge, newKey, see } from "../support/Client.ts"
import type { Keys } from "../support/House.ts"
import { keyOf, revoke } from "../support/KeyDesk.ts"
import { until } from "../support/Program.ts"

export interface House extends Keys {
  readonly database: string
  /** Ends when the bus has told that this charge succeeded. */
  readonly announced: (charge: string) => Promise<void>
}

/** How late a revocation may act. */
const revokedMillis = 2000

export const problem = (answer: Answer, status: number, name: string) => {
  assert.strictEqual(answer.status, status, answer.text)
  assert.strictEqual(answer.body["type"], `/problems/${name}`)
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/)
  assert.match(answer.headers.get("x-request-id") ?? "", /^[A-Za-z0-9._-]{1,64}$/)
}

interface Captured {
  readonly data: ReadonlyArray<{ readonly amount: number; readonly source: string; readonly sends: number }>
}
export const capturedBy = async (house: Keys) =>
  JSON.parse((await ask(`${house.twinUrl}/_twin/payments`)).text) as Captured

export const strangerSuite = (name: string, house: () => House) =>
  describe(`A stranger (${name})`, () => {
    it("charges once, says it on the bus, and tells the same bytes again", async () => {
      const key = newKey()
      const first = await charge(house(), key, { source: "tok_visa", amount: 4242 }, 10)
      assert.strictEqual(first.status, 201, first.text)
      assert.strictEqual(first.body["operation_state"], "succeeded")
      assert.isNull(first.headers.get("idempotent-replayed"))
      const again = await charge(house(), key, { source: "tok_visa", amount: 4242 })
      assert.strictEqual(again.status, 201)
      assert.strictEqual(again.text, first.text)
      assert.strictEqual(again.headers.get("idempotent-replayed"), "true")
      const id = String(first.body["id"])
      assert.strictEqual(first.headers.get("location"), `/v1/charges/${id}`)
      assert.strictEqual((await see(house(), `/v1/charges/${id}`)).text, first.text)
      await house().announced(id)
      assert.lengthOf(
        (await capturedBy(house())).data.filter(({ amount }) => amount === 4242),
        1
      )
    })

    it("refuses what is wrong with a request, each with its problem", async () => {
      const key = newKey()
      await charge(house(), key, { source: "tok_visa" }, 10)
      problem(await charge(house(), key, { source: "tok_visa", amount: 1051 }), 422, "idempotency-key-reused")
      problem(await charge(house(), "", { source: "tok_visa" }), 400, "idempotency-key-missing")
      problem(await charge(house(), "not-a-uuid", { source: "tok_visa" }), 400, "idempotency-key-invalid")
      problem(
        await charge({ ...house(), apiKey: "cw_nobody" }, newKey(), { source: "tok_visa" }),
        401,
        "unauthenticated"
      )
      problem(await ask(`${house().url}/v1/charges`), 401, "unauthenticated")
      problem(await see(house(), "/v1/nothing"), 404, "not-found")
      const wrongMethod = await ask(`${house().url}/v1/charges`, { method: "DELETE" })
      problem(wrongMethod, 405, "method-not-allowed")
      assert.sameMembers((wrongMethod.headers.get("allow") ?? "").split(", "), ["GET", "HEAD", "OPTIONS", "POST"])
      const headers = {
        authorization: `Bearer ${house().apiKey}`,
        "content-type": "application/json",
        "idempotency-key": newKey()
      }
      const large = JSON.stringify({ amount: 1, currency: "USD", source: "x".repeat(2 * 1024 * 1024) })
      problem(
        await ask(`${house().url}/v1/charges`, { method: "POST", headers, body: large }),
        413,
        "payload-too-large"
      )
      problem(await ask(`${house().url}/v1/charges`, { method: "POST", headers, body: "{" }), 400, "malformed-json")
    })

    it("closes the door to a revoked key within two seconds, though the key was just used", async () => {
      const { id, apiKey } = await keyOf(house().database, "revoked")
      const caller = { url: house().url, apiKey }
      assert.strictEqual((await see(caller, "/v1/charges")).status, 200)
      await revoke(house().database, id)
      await until("the key opens nothing", revokedMillis, async () => (await see(caller, "/v1/charges")).status === 401)
    })

    it("tells a key of the small plan when it may come back", async () => {
      const { apiKey } = await keyOf(house().database, "small", { plan: "small" })
      const caller = { url: house().url, apiKey }
      const statuses = []
      for (let n = 0; n < 5; n++) statuses.push((await see(caller, "/v1/charges")).status)
      assert.deepStrictEqual(statuses, [200, 200, 200, 200, 200])
      const refused = await see(caller, "/v1/charges")
      problem(refused, 429, "quota-exceeded")
      assert.isAtLeast(Number(refused.headers.get("retry-after")), 1)
    })

    it("keeps tenants apart: neither a charge nor a key of one exists for the other", async () => {
      const key = newKey()
      const ours = await charge(house(), key, { source: "tok_visa", amount: 777 }, 10)
      const { apiKey } = await keyOf(house().database, "other")
      const other = { url: house().url, apiKey }
      problem(await see(other, `/v1/charges/${String(ours.body["id"])}`), 404, "charge-not-found")
      const theirs = await charge(other, key, { source: "tok_visa", amount: 778 }, 10)
      assert.strictEqual(theirs.status, 201, theirs.text)
      assert.notStrictEqual(theirs.body["id"], ours.body["id"])
    })

    it("tells a decline, and tells it again", async () => {
      const key = newKey()
      const declined = await charge(house(), key, { source: "tok_declined" }, 10)
      problem(declined, 402, "card-declined")
      assert.strictEqual(declined.body["operation_state"], "failed")
      assert.isTrue(declined.body["safe_new_key"])
      assert.strictEqual((await charge(house(), key, { source: "tok_declined" })).text, declined.text)
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
          const answer = await charge(house(), newKey(), { source, amount }, 20)
          assert.strictEqual(answer.status, 201, answer.text)
          assert.isAtLeast(performance.now() - began, millisMin, source)
        })
      )
      const captured = (await capturedBy(house())).data.filter(({ amount }) => amount > 5000 && amount < 5004)
      assert.sameDeepMembers(
        captured.map(({ source, amount, sends }) => ({ source, amount, sends })),
        tokens.map(({ source, amount, sends }) => ({ source, amount, sends }))
      )
    })

    it("buries what the provider keeps refusing, and carries it out when it is redriven", async () => {
      const key = newKey()
      const answer = await charge(house(), key, { source: "tok_dead", amount: 5004 })
      assert.strictEqual(answer.status, 202)
      const id = String(answer.body["id"])
      const state = async () => (await see(house(), `/v1/charges/${id}`)).body["operation_state"]
      await until("it needs review", 20_000, async () => (await state()) === "needs_review")
      const turned = await ask(`${house().twinUrl}/_twin/tokens/tok_dead`, {
        method: "POST",
        headers: { authorization: `Bearer ${house().twinToken}`, "content-type": "application/json" },
        body: JSON.stringify({ alive: true })
      })
      assert.strictEqual(turned.status, 200, turned.text)
      const redriven = await ask(`${house().url}/v1/dead-letters/charges/redrive`, {
        method: "POST",
        headers: { authorization: `Bearer ${house().apiKey}`, "content-type": "application/json" },
        body: JSON.stringify({ charges: [id], reason: "the token lives again" })
      })
      assert.strictEqual(redriven.status, 200, redriven.text)
      await until("it has succeeded", 20_000, async () => (await state()) === "succeeded")
      assert.strictEqual((await charge(house(), key, { source: "tok_dead", amount: 5004 })).status, 201)
      assert.lengthOf(
        (await capturedBy(house())).data.filter(({ amount }) => amount === 5004),
        1
      )
    })
  })
