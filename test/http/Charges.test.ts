import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Effect, Layer, Logger } from "effect"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"

import * as Deadline from "../../src/domain/Deadline.ts"
import { TenantId } from "../../src/domain/Ids.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as ScriptedPsp from "../../src/layers/payments/ScriptedPsp.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { conforms, house as contract, templateOf } from "./Conformance.ts"
import { type Answer, ask as asked, newKey } from "./Trial.ts"

/** The API and a worker in one process, in memory, over real HTTP. */
const house = (environment: Record<string, string> = {}) =>
  Layer.mergeAll(Features.api, Features.worker).pipe(
    Layer.provideMerge(
      Layer.fresh(
        Layer.mergeAll(
          Memory.stack.books,
          Memory.stack.limiter,
          ScriptedPsp.layer,
          MemoryBreakers.layer,
          Readiness.layer
        )
      )
    ),
    Layer.provideMerge(Settings.layer),
    Layer.provide(
      ConfigProvider.layer(
        ConfigProvider.fromUnknown({ PORT: "0", PSP_BACKOFF_BASE: "20 millis", PSP_ATTEMPTS_MAX: "3", ...environment })
      )
    ),
    Layer.provide(Logger.layer([]))
  )

/** Every answer here is one that the document promises. */
const ask = (path: string, init: RequestInit = {}) =>
  Effect.tap(asked(path, init), (answer) =>
    Effect.sync(() => conforms(contract, (init.method ?? "GET").toLowerCase(), templateOf(contract, path), answer))
  )

const everything = {
  scopes: ["charges:read", "charges:write", "accounts:read", "payments:admin"],
  operator: true
} as const

interface Sent {
  readonly key?: string | undefined
  readonly body?: unknown
  readonly wait?: number
}

/** POSTs a charge; what is not said is a good one under a new key. */
const charge = (auth: Record<string, string>, { body, wait, ...sent }: Sent = {}) =>
  ask("/v1/charges", {
    method: "POST",
    headers: {
      ...auth,
      "content-type": "application/json",
      ...("key" in sent
        ? sent.key === undefined
          ? {}
          : { "idempotency-key": sent.key }
        : { "idempotency-key": uuidV4Unsafe() }),
      ...(wait === undefined ? {} : { prefer: `wait=${wait}` })
    },
    body: typeof body === "string" ? body : JSON.stringify(body ?? good)
  })

const good = { amount: 1050, currency: "USD", source: "tok_visa" }
const short = ({ status, body }: Answer) => [status, body["type"]]
/** Each place once: one value may be wrong in two ways. */
const places = ({ body }: Answer) => [
  ...new Set((body["errors"] as ReadonlyArray<{ readonly pointer: string }>).map(({ pointer }) => pointer))
]

describe("POST /v1/charges", () => {
  it.live("accepts at once, and the outcome follows", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const key = uuidV4Unsafe()
      const answer = yield* charge(auth, { key, body: { ...good, description: "two coffees", order_id: "o-1" } })
      assert.strictEqual(answer.status, 202)
      const { id, created_at, ...rest } = answer.body
      assert.deepStrictEqual(rest, {
        operation_state: "accepted",
        ...good,
        description: "two coffees",
        order_id: "o-1",
        failure: null
      })
      assert.match(String(created_at), /^\d{4}-\d\d-\d\dT.*Z$/)
      assert.strictEqual(answer.headers.get("location"), `/v1/charges/${String(id)}`)
      assert.strictEqual(answer.headers.get("idempotency-key"), key)
      assert.strictEqual(answer.headers.get("retry-after"), "1")
      assert.strictEqual(answer.headers.get("cache-control"), "no-store")
      assert.isTrue(answer.headers.has("idempotency-expires"))
      const waited = yield* charge(auth, {
        key,
        body: { ...good, description: "two coffees", order_id: "o-1" },
        wait: 5
      })
      assert.strictEqual(waited.status, 201)
      assert.deepStrictEqual(waited.body, { ...answer.body, operation_state: "succeeded" })
      const found = yield* ask(`/v1/charges/${String(id)}`, { headers: auth })
      assert.strictEqual(found.text, waited.text)
    }).pipe(Effect.provide(house()))
  )

  it.live("says that it is accepted before its caller has gone, however long a wait was asked for", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const began = yield* Clock.currentTimeMillis
      const answer = yield* charge(
        { ...auth, [Deadline.header]: "1500" },
        { body: { ...good, source: "tok_dead" }, wait: 5 }
      )
      assert.isBelow((yield* Clock.currentTimeMillis) - began, 1500)
      assert.strictEqual(answer.status, 202)
      assert.strictEqual(answer.headers.get("preference-applied"), "wait=1")
    }).pipe(Effect.provide(house({ PSP_BACKOFF_BASE: "1 minute" })))
  )

  it.live("replays the same bytes once settled, and says that it does", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      for (const [source, status] of [
        ["tok_visa", 201],
        ["tok_declined", 402]
      ] as const) {
        const sent = { key: uuidV4Unsafe(), body: { ...good, source }, wait: 5 }
        const first = yield* charge(auth, sent)
        assert.strictEqual(first.status, status)
        assert.isNull(first.headers.get("idempotent-replayed"))
        assert.strictEqual(first.headers.get("preference-applied"), "wait=5")
        // Members in another order are the same request.
        const again = yield* charge(auth, { key: `"${sent.key}"`, body: { source, currency: "USD", amount: 1050 } })
        assert.strictEqual(again.status, status)
        assert.strictEqual(again.text, first.text)
        assert.strictEqual(again.headers.get("idempotent-replayed"), "true")
        assert.strictEqual(again.headers.get("location"), first.headers.get("location"))
      }
    }).pipe(Effect.provide(house()))
  )

  it.live("a decline is a problem that carries the charge", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const answer = yield* charge(auth, { body: { ...good, source: "tok_declined" }, wait: 5 })
      assert.deepStrictEqual(short(answer), [402, "/problems/card-declined"])
      assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/)
      assert.deepInclude(answer.body, { operation_state: "failed", safe_new_key: true, retryable: false })
      assert.strictEqual((answer.body["failure"] as { code: string }).code, "card_declined")
      assert.strictEqual(answer.body["id"], answer.body["charge"])
    }).pipe(Effect.provide(house()))
  )

  it.live("refuses what is no charge, naming each place, and leaves the key free", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const key = uuidV4Unsafe()
      const cases: ReadonlyArray<readonly [unknown, ReadonlyArray<string>]> = [
        [{ ...good, amount: 0 }, ["/amount"]],
        [{ ...good, amount: -1 }, ["/amount"]],
        [{ ...good, amount: 10.5 }, ["/amount"]],
        [{ ...good, amount: "1050" }, ["/amount"]],
        [JSON.stringify(good).replace("1050", "9007199254740992"), ["/amount"]],
        [{ ...good, currency: "usd" }, ["/currency"]],
        [{ ...good, currency: "XXX" }, ["/currency"]],
        [{ ...good, source: "4242424242424242" }, ["/source"]],
        [{ ...good, captur: false }, ["/captur"]],
        [{ ...good, description: "a\u0000b" }, ["/description"]],
        [{ currency: "USD" }, ["/amount", "/source"]],
        [[], [""]],
        ["null", [""]]
      ]
      for (const [body, pointers] of cases) {
        const answer = yield* charge(auth, { key, body })
        assert.deepStrictEqual(short(answer), [422, "/problems/invalid-charge"], JSON.stringify(body))
        assert.deepStrictEqual(places(answer), pointers)
        assert.notInclude(answer.text, "4242")
        assert.deepInclude(answer.body, { safe_new_key: true, retryable: false })
      }
      assert.strictEqual((yield* charge(auth, { key })).status, 202)
    }).pipe(Effect.provide(house()))
  )

  it.live("knows its keys", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const missing = yield* charge(auth, { key: undefined })
      assert.deepStrictEqual(short(missing), [400, "/problems/idempotency-key-missing"])
      for (const key of ["1", uuidV4Unsafe().toUpperCase(), "8e03978e-40d5-13e8-bc93-6894a57f9324", "a, b"]) {
        assert.deepStrictEqual(short(yield* charge(auth, { key })), [400, "/problems/idempotency-key-invalid"])
      }
      const key = uuidV4Unsafe()
      yield* charge(auth, { key, wait: 5 })
      const reused = yield* charge(auth, { key, body: { ...good, amount: 1051 } })
      assert.deepStrictEqual(short(reused), [422, "/problems/idempotency-key-reused"])
      assert.deepInclude(reused.body, { safe_new_key: false })
      assert.strictEqual(reused.headers.get("idempotency-key"), key)
      const other = yield* newKey({ ...everything, tenant: TenantId.make("globex") })
      assert.strictEqual((yield* charge(other, { key, body: { ...good, amount: 7 } })).status, 202)
    }).pipe(Effect.provide(house()))
  )

  it.live("charges an order once, unless it was declined", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      yield* charge(auth, { body: { ...good, source: "tok_declined", order_id: "o-1" }, wait: 5 })
      const first = yield* charge(auth, { body: { ...good, order_id: "o-1" } })
      assert.strictEqual(first.status, 202)
      const second = yield* charge(auth, { body: { ...good, order_id: "o-1" } })
      assert.deepStrictEqual(short(second), [409, "/problems/order-already-charged"])
      assert.strictEqual(second.body["charge"], first.body["id"])
      assert.strictEqual(second.headers.get("location"), first.headers.get("location"))
    }).pipe(Effect.provide(house()))
  )

  it.live("after its time a key is neither replayed nor charged again", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const key = uuidV4Unsafe()
      const first = yield* charge(auth, { key, wait: 5 })
      assert.strictEqual(first.status, 201)
      const expired = yield* charge(auth, { key }).pipe(
        Effect.delay("20 millis"),
        Effect.repeat({ until: (answer) => answer.status !== 201, times: 400 })
      )
      assert.deepStrictEqual(short(expired), [409, "/problems/operation-result-expired"])
      assert.strictEqual(expired.headers.get("location"), first.headers.get("location"))
    }).pipe(Effect.provide(house({ IDEMPOTENCY_TTL: "1 second" })))
  )
})

describe("What is read", () => {
  it.live("charges are the tenant's own, newest first, in pages", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const other = yield* newKey({ ...everything, tenant: TenantId.make("globex") })
      const ids: Array<unknown> = []
      for (let i = 0; i < 5; i++) ids.push((yield* charge(auth)).body["id"])
      const first = yield* ask("/v1/charges?limit=3", { headers: auth })
      const rows = first.body["data"] as ReadonlyArray<{ readonly id: string }>
      assert.deepStrictEqual(
        rows.map((row) => row.id),
        ids.toReversed().slice(0, 3)
      )
      const rest = yield* ask(`/v1/charges?limit=3&cursor=${String(first.body["next_cursor"])}`, { headers: auth })
      assert.lengthOf(rest.body["data"] as ReadonlyArray<unknown>, 2)
      assert.isNull(rest.body["next_cursor"])
      const theirs = yield* ask(`/v1/charges/${String(ids[0])}`, { headers: other })
      assert.deepStrictEqual(short(theirs), [404, "/problems/charge-not-found"])
      for (const query of ["limit=0", "limit=101", "limit=x", "limit=", "cursor=%00", "cursor=abc"]) {
        const answer = yield* ask(`/v1/charges?${query}`, { headers: auth })
        assert.include([400, 422], answer.status, query)
      }
    }).pipe(Effect.provide(house()))
  )

  it.live("accounts open with the first charge and agree with it", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      assert.deepStrictEqual((yield* ask("/v1/accounts", { headers: auth })).body["data"], [])
      yield* charge(auth, { wait: 5 })
      const { body } = yield* ask("/v1/accounts", { headers: auth })
      const rows = body["data"] as ReadonlyArray<Record<string, unknown>>
      assert.deepStrictEqual(
        rows.map((row) => [row["code"], row["currency"], row["balance"], row["held_debits"]]),
        [
          ["receivable", "USD", -1050, 0],
          ["payable", "USD", 1050, 0]
        ]
      )
      const one = yield* ask(`/v1/accounts/${String(rows[0]?.["id"])}`, { headers: auth })
      assert.deepStrictEqual(one.body, rows[0])
      const other = yield* newKey({ ...everything, tenant: TenantId.make("globex") })
      const theirs = yield* ask(`/v1/accounts/${String(rows[0]?.["id"])}`, { headers: other })
      assert.deepStrictEqual(short(theirs), [404, "/problems/account-not-found"])
    }).pipe(Effect.provide(house()))
  )

  it.live("a key tells its charge, its attempts and what happens next", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const key = uuidV4Unsafe()
      const { body } = yield* charge(auth, { key, wait: 5 })
      const record = (yield* ask(`/v1/idempotency/${key}`, { headers: auth })).body
      assert.deepInclude(record, {
        key,
        charge: body["id"],
        operation_state: "succeeded",
        attempts: 1,
        next_action: "none",
        next_attempt_at: null
      })
      assert.match(String(record["fingerprint_prefix"]), /^[0-9a-f]{12}$/)
      const unseen = yield* ask(`/v1/idempotency/${uuidV4Unsafe()}`, { headers: auth })
      assert.deepStrictEqual(short(unseen), [404, "/problems/idempotency-key-not-found"])
    }).pipe(Effect.provide(house()))
  )
})

const redrive = (headers: Record<string, string>, what: unknown) =>
  ask("/v1/dead-letters/charges/redrive", {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(what)
  })

describe("Dead letters", () => {
  it.live("are listed with their history, redriven under the same key, and only by operators", () =>
    Effect.gen(function* () {
      const auth = yield* newKey(everything)
      const bank = yield* ScriptedPsp.ScriptedBank
      const { body } = yield* charge(auth, { body: { ...good, source: "tok_dead" } })
      const id = String(body["id"])
      const dead = yield* ask(`/v1/dead-letters/charges/${id}`, { headers: auth }).pipe(
        Effect.delay("20 millis"),
        Effect.repeat({ until: (answer) => answer.status === 200, times: 400 })
      )
      assert.deepInclude(dead.body, { class: "busy", attempts: 3, tenant: "acme" })
      assert.lengthOf(dead.body["history"] as ReadonlyArray<unknown>, 3)
      const { body: listed } = yield* ask("/v1/dead-letters/charges", { headers: auth })
      assert.deepStrictEqual(listed["data"], [dead.body])
      const plain = yield* newKey({ scopes: ["charges:write"] })
      assert.deepStrictEqual(short(yield* redrive(plain, { charges: "all", reason: "x" })), [
        403,
        "/problems/forbidden"
      ])
      assert.deepStrictEqual(short(yield* redrive(auth, { charges: ["nonsense"], reason: "x" })), [
        422,
        "/problems/invalid-request"
      ])
      assert.deepStrictEqual(short(yield* redrive(auth, { charges: "all" })), [422, "/problems/invalid-request"])
      yield* bank.switch("tok_dead", true)
      const redriven = yield* redrive(auth, { charges: [id], reason: "the provider is back" })
      assert.deepStrictEqual(redriven.body, { redriven: [dead.body["id"]], refused: [] })
      const settled = yield* ask(`/v1/charges/${id}`, { headers: auth }).pipe(
        Effect.delay("20 millis"),
        Effect.repeat({ until: (answer) => answer.body["operation_state"] === "succeeded", times: 400 })
      )
      assert.strictEqual(settled.body["operation_state"], "succeeded")
      assert.lengthOf(yield* bank.captured, 1)
    }).pipe(Effect.provide(house()))
  )
})
