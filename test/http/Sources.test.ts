import { inspect } from "node:util"

import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, DateTime, Duration, Effect, Layer, Logger, Option, Redacted, Tracer } from "effect"
import { FetchHttpClient, HttpClient, HttpServer } from "effect/http"

import { Breaker, BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import type { Psp } from "../../src/domain/payments/Psp.ts"
import * as HttpBreaker from "../../src/layers/breakers/HttpBreaker.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as HttpPsp from "../../src/layers/payments/HttpPsp.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { conforms, house as contract } from "./Conformance.ts"
import { ask as asked, newKey } from "./Trial.ts"

const house = (
  environment: Record<string, string> = {},
  provider: Layer.Layer<Psp> = Memory.stack.provider,
  observed: Layer.Layer<never> = Logger.layer([])
) =>
  Features.api.pipe(
    Layer.provideMerge(
      Layer.fresh(Layer.mergeAll(Memory.stack.books, Memory.stack.limiter, provider, Readiness.layer))
    ),
    Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0", ...environment }))),
    Layer.provide(observed)
  )

/** A provider behind whose address nobody listens. */
const nobody = HttpPsp.layerWith({
  url: Redacted.make("http://127.0.0.1:1"),
  apiKey: Option.none(),
  timeout: Duration.seconds(5),
  connections: 2
})

const ask = (token: string, headers: Record<string, string>) =>
  Effect.tap(asked(`/v1/sources/${token}`, { headers }), (answer) =>
    Effect.sync(() => conforms(contract, "get", "/v1/sources/{token}", answer))
  )

const away = Effect.gen(function* () {
  const until = DateTime.add(yield* DateTime.now, { minutes: 1 })
  yield* (yield* Breakers).force("psp", { to: "open", until })
})

describe("GET /v1/sources/{token}", () => {
  it.live("shows a card; and when the provider is not asked, what it last said, as such", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      const fresh = yield* ask("tok_visa", auth)
      assert.strictEqual(fresh.status, 200)
      assert.deepStrictEqual(fresh.body, {
        brand: "visa",
        last4: "4242",
        exp_month: 12,
        exp_year: 2034,
        stale: false,
        age_ms: 0
      })
      yield* away
      yield* Effect.sleep(Duration.millis(5))
      const { age_ms, ...stale } = (yield* ask("tok_visa", auth)).body
      assert.deepStrictEqual(stale, { brand: "visa", last4: "4242", exp_month: 12, exp_year: 2034, stale: true })
      assert.isAtLeast(Number(age_ms), 5)
    }).pipe(Effect.provide(house()))
  )

  it.live("names the culprit when the provider is not asked and nothing is known", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      yield* away
      const { body, headers, status } = yield* ask("tok_visa", auth)
      assert.strictEqual(status, 503)
      assert.strictEqual(body["type"], "/problems/dependency-unavailable")
      assert.deepStrictEqual([body["dependency"], body["path"]], ["psp", ["psp"]])
      assert.isAbove(Number(body["retry_after_ms"]), 50_000)
      assert.strictEqual(headers.get("retry-after"), String(Math.ceil(Number(body["retry_after_ms"]) / 1000)))
    }).pipe(Effect.provide(house()))
  )

  it.live("what its breaker said is a breaker's word in the process that asked, with the way to it", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      yield* away
      const { address } = yield* HttpServer.HttpServer
      assert("port" in address)
      const host = `127.0.0.1:${address.port}`
      const refused = Effect.fnUntraced(function* (name: string, timeout: Duration.Input) {
        const service = Dependency.make(name, "http", { timeout: Duration.fromInputUnsafe(timeout) })
        const client = yield* HttpBreaker.wrap(yield* HttpClient.HttpClient, service, { ours: [host] })
        const error = yield* Effect.flip(client.get(`http://${host}/v1/sources/tok_visa`, { headers: auth }))
        assert.instanceOf(error, BreakerError)
        assert.deepStrictEqual([error.dependency, error.path], ["psp", [name, "psp"]])
        assert.strictEqual((yield* (yield* Breaker).permits(service)).state, "closed")
        return error.reason
      })
      const asking = Effect.gen(function* () {
        for (let n = 0; n < 6; n++) {
          const reason = yield* refused("patient", "20 seconds")
          assert(reason._tag === "CircuitOpen")
          assert.isAbove(Duration.toMillis(reason.retryAfter), 50_000)
        }
        const reason = yield* refused("hurried", "5 seconds")
        assert(reason._tag === "DeadlineTooShort")
        assert.strictEqual(Duration.toMillis(reason.needs), 10_250)
        assert.isAtMost(Duration.toMillis(reason.left), 5000)
      })
      // Another process, but for the process.
      const elsewhere = MemoryBreakers.layerWith({
        failuresMax: 2,
        window: Duration.seconds(1),
        windowCap: Duration.seconds(30),
        fleet: 10
      })
      yield* Effect.provide(asking, [Layer.fresh(elsewhere), FetchHttpClient.layer])
    }).pipe(Effect.provide(house()))
  )

  it.live("knows no source of a token that nobody has, or that is none; and asks for a key and its scope", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      const none = ["tok_nobody", "..%2Fpayments", "%C3%A9", "%20", "4242424242424242", "t".repeat(255)]
      for (const token of none) {
        const { body, status } = yield* ask(token, auth)
        assert.deepStrictEqual([status, body["type"]], [404, "/problems/source-not-found"], token)
      }
      assert.strictEqual((yield* asked(`/v1/sources/${"t".repeat(256)}`, { headers: auth })).status, 404)
      assert.strictEqual((yield* ask("tok_visa", {})).status, 401)
      assert.strictEqual((yield* ask("tok_visa", yield* newKey({ scopes: ["charges:write"] }))).status, 403)
    }).pipe(Effect.provide(house()))
  )

  it.live("does not begin what could outlast its caller", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      const { body, status } = yield* ask("tok_visa", { ...auth, "x-cribwork-deadline-ms": "5000" })
      assert.deepStrictEqual([status, body["type"]], [503, "/problems/deadline-too-short"])
      assert.deepStrictEqual([body["dependency"], body["needs_ms"]], ["psp", 10_250])
      assert.isAtMost(Number(body["left_ms"]), 5000)
    }).pipe(Effect.provide(house()))
  )

  it.live("names the provider that was asked and did not answer", () =>
    Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read"] })
      const { body, status } = yield* ask("tok_visa", auth)
      assert.deepStrictEqual([status, body["type"]], [503, "/problems/unavailable"])
      assert.deepStrictEqual([body["dependency"], body["path"]], ["psp", ["psp"]])
      assert.isAbove(Number(body["retry_after_ms"]), 0)
      for (const never of ["4242424242424242", "tok.visa", "%20"]) {
        assert.strictEqual((yield* ask(never, auth)).status, 404, `${never} is never sent`)
      }
    }).pipe(Effect.provide(house({}, nobody)))
  )

  it.live("tells its token to nobody: neither to spans, nor to the log, nor to metrics", () => {
    const seen: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        seen.push(span)
        return span
      }
    })
    const lines: Array<unknown> = []
    const observed = Layer.mergeAll(
      Layer.succeed(Tracer.Tracer, tracer),
      Logger.layer([Logger.make((line) => void lines.push(line.message, line.cause))])
    )
    return Effect.gen(function* () {
      const auth = yield* newKey({ scopes: ["charges:read", "ops:read"] })
      const tokens = ["tok_hidden_1", "tok_hidden_1?x=/v1/sources/tok_hidden_2", "tok_hidden_3/more"]
      for (const token of tokens) yield* asked(`/v1/sources/${token}`, { headers: auth })
      yield* away
      assert.strictEqual((yield* ask("tok_hidden_4", auth)).status, 503)
      const metrics = (yield* asked("/metrics", { headers: auth })).text
      const spans = seen.map((span) => inspect(span, { depth: 12 }))
      assert.isTrue(
        spans.some((span) => span.includes("'url.path' => '/v1/sources/:token'")),
        spans.join("\n")
      )
      assert.isTrue(seen.some(({ name }) => name === "Psp.source"))
      assert.include(spans.join(), "ResponseError (503 GET /v1/sources/:token")
      assert.include(inspect(lines, { depth: 12 }), "request failed")
      assert.include(metrics, `route="/v1/sources/:token"`)
      for (const told of [...spans, inspect(lines, { depth: 12 }), metrics]) assert.notInclude(told, "tok_hidden")
    }).pipe(Effect.provide(house({}, nobody, observed)))
  })

  it.effect("has time for the provider, or the program does not start", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(Layer.build(house({ PSP_TIMEOUT: "15 seconds", PSP_LEASE: "1 minute" })))
      assert.include(String(refused), "GET /v1/sources/:token")
      assert.include(String(refused), "PSP_TIMEOUT and 250ms (15s 250ms)")
    }).pipe(Effect.scoped)
  )
})
