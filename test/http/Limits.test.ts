/** `/v1/limits` of the house itself, in memory, over real HTTP. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Logger } from "effect"

import { TenantId } from "../../src/domain/Ids.ts"
import { CannotDecide, Limiter, LimiterError } from "../../src/domain/limits/Limiter.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { conforms, house as contract } from "./Conformance.ts"
import { type Answer, ask as asked, newKey } from "./Trial.ts"

const house = (limiter: Layer.Layer<Limiter> = MemoryLimiter.layer) =>
  Features.api.pipe(
    Layer.provideMerge(
      Layer.fresh(Layer.mergeAll(Memory.stack.books, limiter, Memory.stack.provider, Readiness.layer))
    ),
    Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
    Layer.provide(Logger.layer([]))
  )

type Auth = Record<string, string>

/** Every answer here is one that the document promises. */
const call = (verb: "peek" | "refund" | "take") => (auth: Auth, body: object) =>
  Effect.tap(
    asked(`/v1/limits/${verb}`, {
      method: "POST",
      headers: { ...auth, "content-type": "application/json" },
      body: JSON.stringify(body)
    }),
    (answer) => Effect.sync(() => conforms(contract, "post", `/v1/limits/${verb}`, answer))
  )
const take = call("take")
const peek = call("peek")
const refund = call("refund")

const service = (tenant = "acme") => newKey({ tenant: TenantId.make(tenant), scopes: ["limits:use"] })

/** Ten in ten seconds. */
const about = (tenant: string, more: object = {}) => ({ tenant, policies: ["small-tenant"], ...more })
/** What is left of them. */
const left = (auth: Auth, tenant: string) =>
  Effect.map(peek(auth, about(tenant)), ({ body }) => {
    assert.isTrue(body["allowed"], JSON.stringify(body))
    return (body["remaining"] as ReadonlyArray<{ readonly remaining: number }>)[0]?.remaining
  })
const wrong = ({ body }: Answer) =>
  (body["errors"] as ReadonlyArray<{ readonly pointer: string }>).map(({ pointer }) => pointer)

describe("POST /v1/limits/take", () => {
  it.live("charges all policies or none, and a refusal is an answer that says when to come back", () =>
    Effect.gen(function* () {
      const auth = yield* service()
      const ask = {
        tenant: "shop",
        user: "ada",
        route: "GET /search",
        cost: 3,
        policies: ["small-tenant", "small-user"]
      }
      const { body: yes, headers } = yield* take(auth, ask)
      assert.deepInclude(yes, { allowed: true, retry_after_ms: 0, violated_policies: [], source: "memory" })
      assert.deepStrictEqual(yes["remaining"], [
        { policy: "small-tenant", remaining: 7 },
        { policy: "small-user", remaining: 2 }
      ])
      assert.include(headers.get("ratelimit") ?? "", "generous-tenant")

      const { body: no, status } = yield* take(auth, ask)
      assert.strictEqual(status, 200)
      assert.deepInclude(no, { id: null, allowed: false, remaining: [], violated_policies: ["small-user"] })
      assert.isAbove(Number(no["retry_after_ms"]), 9000)
      assert.isAtMost(Number(no["retry_after_ms"]), 10_000)
      assert.strictEqual(yield* left(auth, "shop"), 7)

      yield* take(auth, about("shop", { cost: 7 }))
      const { body: spent } = yield* take(auth, about("shop", { id: "mine" }))
      assert.deepInclude(spent, { id: "mine", allowed: false })
      assert.deepStrictEqual(spent["remaining"], [{ policy: "small-tenant", remaining: 0 }])
      const { body: look } = yield* peek(auth, about("shop"))
      assert.deepInclude(look, { allowed: false, violated_policies: ["small-tenant"] })
    }).pipe(Effect.provide(house()))
  )

  it.live("without names of policies it asks for those of the key's plan that count by what was said", () =>
    Effect.gen(function* () {
      const { body } = yield* take(yield* service(), { tenant: "shop", user: "ada" })
      assert.deepStrictEqual(body["remaining"], [
        { policy: "generous-tenant", remaining: 49_999 },
        { policy: "generous-user", remaining: 19_999 }
      ])
    }).pipe(Effect.provide(house()))
  )

  it.live("nobody drains another's quota, nor ours, whatever the names", () =>
    Effect.gen(function* () {
      const acme = yield* service()
      const globex = yield* service("globex")
      for (const name of ["globex", "globex~shop", "shop", "a:b", "a}", "{}", "%"]) {
        yield* take(acme, about(name, { cost: 10 }))
        assert.isFalse((yield* take(acme, about(name))).body["allowed"])
        assert.strictEqual(yield* left(globex, name), 10, name)
      }
      assert.strictEqual(yield* left(acme, "a"), 10)
      assert.strictEqual(yield* left(acme, "b"), 10)
      const small = yield* newKey({ tenant: TenantId.make("globex"), scopes: ["limits:use"], plan: "small" })
      assert.strictEqual(
        (yield* take(small, about("shop"))).headers.get("ratelimit")?.split(",")[0],
        '"small-tenant";r=9;t=10'
      )
    }).pipe(Effect.provide(house()))
  )

  it.live("asked again under one id it charges once", () =>
    Effect.gen(function* () {
      const auth = yield* service()
      const first = yield* take(auth, about("shop", { cost: 4, id: "order-1" }))
      assert.strictEqual(first.body["id"], "order-1")
      assert.isTrue((yield* take(auth, about("shop", { cost: 4, id: "order-1" }))).body["allowed"])
      assert.strictEqual(yield* left(auth, "shop"), 6)
    }).pipe(Effect.provide(house()))
  )

  it.live("429 is for the service's own quota", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["limits:use"], plan: "small" })
      for (let turn = 0; turn < 5; turn++) assert.strictEqual((yield* take(auth, about("shop"))).status, 200)
      const { body, status } = yield* take(auth, about("shop"))
      assert.strictEqual(status, 429)
      assert.deepStrictEqual(body["violated_policies"], ["small-user", "small-route"])
    }).pipe(Effect.provide(house()))
  )

  it.live("names the place of what is wrong, and charges nothing for it", () =>
    Effect.gen(function* () {
      const auth = yield* service()
      const both = ["small-tenant", "small-user"]
      const wrongs: ReadonlyArray<readonly [object, ReadonlyArray<string>]> = [
        [{ cost: 0 }, ["/cost"]],
        [{ cost: -1 }, ["/cost"]],
        [{ cost: 1.5 }, ["/cost"]],
        [{ cost: 10_001 }, ["/cost"]],
        [{ cost: 11 }, ["/cost"]],
        [{ cost: 6, user: "ada", policies: both }, ["/cost"]],
        [{ policies: ["small-tenant", "big"] }, ["/policies/1"]],
        [{ policies: ["small-tenant", "public"] }, ["/policies/1"]],
        [{ policies: [] }, ["/policies/0"]],
        [{ policies: Array.from({ length: 9 }, () => "small-tenant") }, ["/policies"]],
        [{ policies: both }, ["/user"]],
        [{ policies: undefined, route: "GET /" }, ["/user"]],
        [{ tenant: "" }, ["/tenant"]],
        [{ tenant: "a\u0000" }, ["/tenant"]],
        [{ tenant: "x".repeat(10_000) }, ["/tenant"]],
        [{ user: "a\nb" }, ["/user"]],
        [{ user: "\ud800" }, ["/user"]],
        [{ route: "x".repeat(201), user: "ada" }, ["/route"]],
        [{ id: "a b" }, ["/id"]],
        [{ id: "x".repeat(65) }, ["/id"]],
        [{ costs: 2 }, ["/costs"]],
        [{ tenant: undefined, user: 7 }, ["/tenant", "/user"]]
      ]
      for (const [body, places] of wrongs) {
        const answer = yield* take(auth, about("shop", body))
        assert.deepStrictEqual([answer.status, wrong(answer)], [422, places], JSON.stringify(body).slice(0, 99))
      }
      assert.strictEqual(yield* left(auth, "shop"), 10)
      assert.strictEqual((yield* take(auth, about("🛒".repeat(200)))).status, 200)
    }).pipe(Effect.provide(house()))
  )

  it.live("is for keys that may", () =>
    Effect.gen(function* () {
      for (const verb of [take, peek, refund]) {
        assert.strictEqual((yield* verb({}, about("shop", { id: "x" }))).status, 401)
        const refused = yield* verb(yield* newKey({ scopes: ["ops:read"] }), about("shop", { id: "x" }))
        assert.deepInclude(refused.body, { status: 403, scope: "limits:use" })
      }
    }).pipe(Effect.provide(house()))
  )

  it.live("what nobody can decide is no refusal", () =>
    Effect.gen(function* () {
      const { body, headers, status } = yield* take(yield* service(), about("shop"))
      assert.deepStrictEqual([status, body["type"]], [503, "/problems/unavailable"])
      assert.strictEqual(headers.get("retry-after"), "1")
    }).pipe(Effect.provide(house(lostFor("acme~shop"))))
  )
})

describe("POST /v1/limits/refund", () => {
  it.live("gives back what a decision of one's own charged, once", () =>
    Effect.gen(function* () {
      const acme = yield* service()
      const globex = yield* service("globex")
      const { id } = (yield* take(acme, about("shop", { cost: 4 }))).body
      yield* take(acme, about("shop", { cost: 2 }))
      const again = about("shop", { id, cost: 4 })

      assert.deepStrictEqual((yield* refund(globex, again)).body, { id, refunded: 0 })
      assert.deepStrictEqual((yield* refund(acme, about("other", { id, cost: 4 }))).body, { id, refunded: 0 })
      assert.strictEqual(yield* left(acme, "shop"), 4)
      assert.deepStrictEqual((yield* refund(acme, again)).body, { id, refunded: 4 })
      assert.deepStrictEqual((yield* refund(acme, again)).body, { id, refunded: 0 })
      assert.strictEqual(yield* left(acme, "shop"), 8)
      const noId = yield* refund(acme, about("shop"))
      assert.deepStrictEqual([noId.status, wrong(noId)], [422, ["/id"]])
    }).pipe(Effect.provide(house()))
  )
})

/** A limiter that has lost touch with the keys of one tenant. */
const lostFor = (tenant: string) =>
  Layer.effect(
    Limiter,
    Effect.map(Limiter, (limiter) =>
      Limiter.of({
        ...limiter,
        take: (ask) =>
          ask.keys[0].key[0] === tenant
            ? Effect.fail(new LimiterError({ reason: new CannotDecide({ cause: "unplugged on purpose" }) }))
            : limiter.take(ask)
      })
    )
  ).pipe(Layer.provide(MemoryLimiter.layer))
