import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Logger } from "effect"
import { HttpApi } from "effect/http-api"

import { Api } from "../../src/domain/api/Api.ts"
import { openApiOf } from "../../src/domain/api/OpenApiDocument.ts"
import { problemNames, table } from "../../src/domain/api/ProblemTable.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { ask, newKey } from "./Trial.ts"

const house = () =>
  Features.api.pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        Readiness.layer,
        MemoryBreakers.layer,
        Layer.fresh(MemoryLimiter.layer),
        Layer.fresh(Memory.stack.books),
        Memory.stack.provider
      )
    ),
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
    Layer.provide(Logger.layer([]))
  )

describe("The house", () => {
  it.live("is alive, and ready when all it depends on answers", () =>
    Effect.gen(function* () {
      const readiness = yield* Readiness.Readiness
      yield* readiness.register("postgres", Effect.void)
      assert.deepStrictEqual((yield* ask("/health/live")).body, { status: "live" })
      const ready = yield* ask("/health/ready")
      assert.strictEqual(ready.status, 200)
      assert.deepStrictEqual(ready.body, { status: "ready", dependencies: [{ name: "postgres", ready: true }] })
    }).pipe(Effect.scoped, Effect.provide(house()))
  )

  it.live("says which dependency does not answer, also when it hangs, and not why", () =>
    Effect.gen(function* () {
      const readiness = yield* Readiness.Readiness
      yield* readiness.register("postgres", Effect.void)
      yield* readiness.register("redis", Effect.die(new Error("hunter2")))
      yield* readiness.register("kafka", Effect.never)
      const answer = yield* ask("/health/ready")
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.body["type"], "/problems/not-ready")
      assert.strictEqual(answer.body["detail"], "Not ready: redis, kafka.")
      assert.notInclude(answer.text, "hunter2")
      assert.strictEqual((yield* ask("/health/live")).status, 200)
    }).pipe(Effect.scoped, Effect.provide(house()))
  )

  it.live("has a page for each problem, to read and for programs, and none for others", () =>
    Effect.gen(function* () {
      for (const name of problemNames) {
        const page = yield* ask(`/problems/${name}`, { headers: { accept: "text/html,application/json" } })
        assert.strictEqual(page.status, 200)
        assert.match(page.headers.get("content-type") ?? "", /^text\/html/)
        assert.include(page.text, `<h1>${table[name].title}</h1>`)
        const facts = yield* ask(`/problems/${name}`, { headers: { accept: "application/json" } })
        assert.strictEqual(facts.body["doc"], table[name].doc)
      }
      assert.strictEqual((yield* ask("/problems/nonsense")).status, 404)
    }).pipe(Effect.provide(house()))
  )

  it.live("has a reference that lists every route and needs no other host", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/")).headers.get("location"), "/docs")
      const { headers, text } = yield* ask("/docs")
      HttpApi.reflect(Api, {
        onGroup: () => undefined,
        onEndpoint: ({ endpoint }) => assert.include(text, `<code>${endpoint.path.replace(/:(\w+)/g, "{$1}")}</code>`)
      })
      assert.notMatch(text, /(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?\/\//)
      assert.notInclude(text, "<script")
      assert.include(headers.get("content-security-policy") ?? "", "default-src 'none'")
    }).pipe(Effect.provide(house()))
  )

  it.live("shows its metrics to those who may see them", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/metrics")).status, 401)
      assert.strictEqual((yield* ask("/metrics", { headers: yield* newKey({ scopes: ["charges:read"] }) })).status, 403)
      yield* ask("/health/live")
      const { headers, text } = yield* ask("/metrics", { headers: yield* newKey() })
      assert.match(headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
      assert.match(text, /cribwork_http_requests_total\{route="\/health\/live",method="GET",status="200"\} [1-9]/)
      assert.match(text, /cribwork_http_request_seconds_bucket\{route="\/health\/live",le="\+Inf"\} [1-9]/)
    }).pipe(Effect.provide(house()))
  )

  it.live("serves the document it is made from", () =>
    Effect.gen(function* () {
      const { body, headers } = yield* ask("/openapi.json")
      assert.strictEqual(headers.get("content-type"), "application/json")
      assert.deepStrictEqual(body, JSON.parse(JSON.stringify(openApiOf(Api))))
    }).pipe(Effect.provide(house()))
  )
})
