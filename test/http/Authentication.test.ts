import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer } from "effect"

import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { CannotDecide, Limiter, LimiterError, RateLimited } from "../../src/domain/limits/Limiter.ts"
import { ask, newKey, server } from "./Trial.ts"

const wrong = { authorization: `Bearer cw_0123456789abcdef_${"0".repeat(64)}` }

/** How often a key was looked up. */
const counting = (count: { lookups: number }) =>
  Layer.effect(
    ApiKeys,
    Effect.map(ApiKeys, (keys) =>
      ApiKeys.of({
        ...keys,
        authenticate: (token) =>
          Effect.suspend(() => {
            count.lookups += 1
            return keys.authenticate(token)
          })
      })
    )
  )

/** A limiter in which this address has no room left on any route. */
const full = (address: string) =>
  Layer.effect(
    Limiter,
    Effect.map(Limiter, (limiter) =>
      Limiter.of({
        ...limiter,
        take: (ask) =>
          ask.keys.some(({ key }) => key.includes(address))
            ? Effect.fail(
                new LimiterError({
                  reason: new RateLimited({
                    violated: [ask.keys[0].policy.name],
                    retryAfter: Duration.seconds(1),
                    source: "memory"
                  })
                })
              )
            : limiter.take(ask)
      })
    )
  )

/** How often the limiter was asked about an address. */
const peeking = (count: { peeks: number }) =>
  Layer.effect(
    Limiter,
    Effect.map(Limiter, (limiter) =>
      Limiter.of({
        ...limiter,
        peek: (ask) =>
          Effect.suspend(() => {
            count.peeks += 1
            return limiter.peek(ask)
          })
      })
    )
  )

const cannotDecide = () =>
  Effect.fail(new LimiterError({ reason: new CannotDecide({ cause: "unplugged on purpose" }) }))

const unplugged = Layer.succeed(
  Limiter,
  Limiter.of({ take: cannotDecide, peek: cannotDecide, refund: cannotDecide, reset: cannotDecide })
)

const wrongFrom = (forwarded: string) => ask("/v1/things/7", { headers: { ...wrong, "x-forwarded-for": forwarded } })

describe("Authentication", () => {
  it.live("lets a key in to what its scopes cover, and names the one it lacks", () =>
    Effect.gen(function* () {
      const reader = yield* newKey({ scopes: ["charges:read"] })
      const read = yield* ask("/v1/things/7", { headers: reader })
      assert.strictEqual(read.status, 200)
      assert.deepStrictEqual(read.body, { id: "7", amount: 1, tenant: "acme" })
      const write = yield* ask("/v1/things", { method: "POST", headers: reader, body: "{" })
      assert.strictEqual(write.status, 403)
      assert.strictEqual(write.body["scope"], "charges:write")
    }).pipe(Effect.provide(server()))
  )

  it.live("refuses a missing, a malformed and an unknown key alike", () =>
    Effect.gen(function* () {
      const { authorization } = yield* newKey()
      for (const headers of [
        {},
        wrong,
        { authorization: "Basic YTpi" },
        { authorization: "Bearer" },
        { authorization: "Bearer  " }
      ]) {
        const answer = yield* ask("/v1/things/7", { headers })
        assert.strictEqual(answer.status, 401)
        assert.strictEqual(answer.body["type"], "/problems/unauthenticated")
        assert.strictEqual(answer.headers.get("www-authenticate"), `Bearer realm="cribwork"`)
      }
      // RFC 9110, 11.1: the scheme in any case, spaces after it.
      const shouted = authorization.replace("Bearer ", "BEARER  ")
      assert.strictEqual((yield* ask("/v1/things/7", { headers: { authorization: shouted } })).status, 200)
    }).pipe(Effect.provide(server()))
  )

  it.live("refuses the request above the plan's limit and says when the next one passes", () =>
    Effect.gen(function* () {
      const headers = yield* newKey({ plan: "small" })
      const statuses = []
      for (let sent = 0; sent < 5; sent++) statuses.push((yield* ask("/v1/things/7", { headers })).status)
      assert.deepStrictEqual(statuses, [200, 200, 200, 200, 200])
      const answer = yield* ask("/v1/things/8", { headers })
      assert.strictEqual(answer.status, 429)
      assert.strictEqual(answer.body["type"], "/problems/quota-exceeded")
      assert.deepStrictEqual((answer.body["violated_policies"] as string[]).toSorted(), ["small-route", "small-user"])
      const wait = answer.body["retry_after_ms"] as number
      assert.isAtLeast(wait, 1)
      assert.isAtMost(wait, 10_000)
      assert.strictEqual(answer.headers.get("retry-after"), String(Math.ceil(wait / 1000)))
    }).pipe(Effect.provide(server()))
  )

  it.live("says on every answer what is left, and of what", () =>
    Effect.gen(function* () {
      const policies = `"small-tenant";q=10;w=10, "small-user";q=5;w=10, "small-route";q=5;w=10`
      const headers = yield* newKey({ plan: "small" })
      const told = Effect.map(ask("/v1/things/7", { headers }), (answer) => {
        assert.strictEqual(answer.headers.get("ratelimit-policy"), policies)
        return answer.headers.get("ratelimit") ?? ""
      })
      assert.match(yield* told, /^"small-tenant";r=9;t=10, "small-user";r=4;t=10, "small-route";r=4;t=10$/)
      for (let sent = 0; sent < 4; sent++) yield* told
      assert.match(yield* told, /^"small-user";r=0;t=\d+, "small-route";r=0;t=\d+$/)
      const failing = yield* ask("/fail/unavailable")
      assert.strictEqual(failing.status, 503)
      assert.strictEqual(failing.headers.get("ratelimit-policy"), `"public";q=2000;w=1`)
      assert.match(failing.headers.get("ratelimit") ?? "", /^"public";r=1999;t=1$/)
    }).pipe(Effect.provide(server()))
  )

  it.live("charges the limit per route's pattern and not per path", () =>
    Effect.gen(function* () {
      const headers = yield* newKey({ plan: "small" })
      for (let sent = 0; sent < 5; sent++) yield* ask(`/v1/things/${sent}`, { headers })
      const answer = yield* ask("/v1/things/other", { headers })
      assert.include(answer.body["violated_policies"] as string[], "small-route")
    }).pipe(Effect.provide(server()))
  )

  it.live("refuses an address that spent its budget of failures, before any key is looked up", () => {
    const count = { lookups: 0, peeks: 0 }
    return Effect.gen(function* () {
      const good = yield* newKey()
      for (let failed = 0; failed < 3; failed++) {
        assert.strictEqual((yield* ask("/v1/things/7", { headers: wrong })).status, 401)
      }
      assert.strictEqual(count.lookups, 3)
      for (const headers of [wrong, good]) {
        const answer = yield* ask("/v1/things/7", { headers })
        assert.strictEqual(answer.status, 429)
        assert.deepStrictEqual(answer.body["violated_policies"], ["failed-authentication"])
        assert.isAtMost(answer.body["retry_after_ms"] as number, 60_000)
      }
      assert.strictEqual(count.lookups, 3)
      assert.strictEqual(count.peeks, 3)
    }).pipe(Effect.provide(server({ ACCESS_FAILURES_MAX: "3" }, Layer.merge(counting(count), peeking(count)))))
  })

  it.live("charges a failure to the client that the trusted proxies name, and to nobody a client names", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* wrongFrom("203.0.113.1")).status, 401)
      assert.strictEqual((yield* wrongFrom("203.0.113.1")).status, 429)
      assert.strictEqual((yield* wrongFrom("203.0.113.1, 203.0.113.2")).status, 401)
      assert.strictEqual((yield* wrongFrom("203.0.113.9, 203.0.113.2")).status, 429)
    }).pipe(Effect.provide(server({ ACCESS_FAILURES_MAX: "1", HTTP_TRUSTED_PROXIES: "1" })))
  )

  it.live("asks about an address once, and nothing more while its keys are good", () => {
    const count = { peeks: 0 }
    return Effect.gen(function* () {
      const headers = yield* newKey()
      for (let sent = 0; sent < 4; sent++) yield* ask("/v1/things/7", { headers })
      assert.strictEqual(count.peeks, 1)
    }).pipe(Effect.provide(server({}, peeking(count))))
  })

  it.live("meters routes without a key by address", () =>
    Effect.gen(function* () {
      const answer = yield* ask("/trace", { headers: { "x-forwarded-for": "203.0.113.1" } })
      assert.strictEqual(answer.status, 429)
      assert.deepStrictEqual(answer.body["violated_policies"], ["public"])
      assert.strictEqual((yield* ask("/trace", { headers: { "x-forwarded-for": "203.0.113.2" } })).status, 200)
    }).pipe(Effect.provide(server({ HTTP_TRUSTED_PROXIES: "1" }, full("203.0.113.1"))))
  )

  it.live("lets nobody in whom it cannot count, and says that it is our fault", () =>
    Effect.gen(function* () {
      const answer = yield* ask("/v1/things/7", { headers: yield* newKey() })
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.body["type"], "/problems/unavailable")
    }).pipe(Effect.provide(server({}, unplugged)))
  )
})
