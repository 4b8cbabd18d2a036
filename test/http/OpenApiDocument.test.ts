import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpApi } from "effect/http-api"

import { Api } from "../../src/domain/api/Api.ts"
import { openApiOf } from "../../src/domain/api/OpenApiDocument.ts"
import { table } from "../../src/domain/api/ProblemTable.ts"
import { conforms, type Document, fits, house } from "./Conformance.ts"
import { ask, newKey, server, TrialApi } from "./Trial.ts"

const trial = openApiOf(TrialApi) as unknown as Document

const refs = (value: unknown): ReadonlyArray<string> =>
  typeof value !== "object" || value === null
    ? []
    : Object.entries(value).flatMap(([key, one]) => (key === "$ref" ? [String(one)] : refs(one)))

const problemsAt = (operation: Document["paths"][string][string] | undefined, status: number): ReadonlyArray<string> =>
  refs(operation?.responses[status]?.content?.["application/problem+json"]).map((ref) => ref.split("/").at(-1) ?? "")

describe("OpenApiDocument", () => {
  it("is OpenAPI 3.1, and every reference in it leads somewhere", () => {
    for (const document of [trial, house]) {
      assert.strictEqual(document.openapi, "3.1.0")
      for (const ref of refs(document))
        assert.property(document.components.schemas, ref.replace("#/components/schemas/", ""))
    }
  })

  it("asks for the bearer key, and names the scope, where the server does", () => {
    assert.property(trial.components.securitySchemes, "bearer")
    const read = trial.paths["/v1/things/{id}"]?.["get"]
    assert.deepStrictEqual(read?.security, [{ bearer: [] }])
    assert.strictEqual(read?.["x-scope"], "charges:read")
    assert.deepStrictEqual(trial.paths["/trace"]?.["get"]?.security, [])
  })

  it("types numbers in queries as numbers, with their bounds", () => {
    const [limit] = trial.paths["/v1/things"]?.["get"]?.parameters ?? []
    assert.strictEqual(limit?.name, "limit")
    assert.isFalse(limit?.required)
    assert.deepInclude(limit?.schema, { type: "integer", minimum: 1, maximum: 100 })
  })

  it("lists the problems that stand before every route, a guarded one, and one with a body", () => {
    const write = trial.paths["/v1/things"]?.["post"]
    assert.deepStrictEqual(problemsAt(write, 401), ["unauthenticated"])
    assert.deepStrictEqual(problemsAt(write, 403), ["forbidden"])
    assert.deepStrictEqual(problemsAt(write, 413), ["payload-too-large"])
    assert.deepStrictEqual(problemsAt(write, 415), ["unsupported-media-type"])
    assert.deepStrictEqual(problemsAt(write, 422), ["invalid-request"])
    assert.deepStrictEqual([...problemsAt(write, 400)].toSorted(), ["malformed-json", "malformed-request"])
    const away = ["deadline-too-short", "dependency-unavailable", "overloaded", "unavailable"]
    assert.deepStrictEqual([...problemsAt(write, 503)].toSorted(), away)
    assert.deepStrictEqual(problemsAt(write, 504), ["dependency-timeout"])
    for (const document of [trial, house]) {
      for (const operation of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
        assert.deepStrictEqual(problemsAt(operation, 500), ["internal"])
        for (const [status, { headers, content }] of Object.entries(operation.responses)) {
          assert.property(headers, "x-request-id")
          if (Number(status) >= 400) assert.hasAllKeys(content, ["application/problem+json"])
        }
      }
    }
  })

  it("has every route of the contract and no other", () => {
    const routes: Array<string> = []
    HttpApi.reflect(Api, {
      onGroup: () => undefined,
      onEndpoint: ({ endpoint }) =>
        routes.push(`${endpoint.method.toLowerCase()} ${endpoint.path.replaceAll(/:(\w+)/g, "{$1}")}`)
    })
    const listed = Object.entries(house.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`)
    )
    assert.deepStrictEqual(listed.toSorted(), routes.toSorted())
  })

  it.live("describes the answers that the server gives", () =>
    Effect.gen(function* () {
      const headers = { "content-type": "application/json", ...(yield* newKey()) }
      const post = (body: string) => ask("/v1/things", { method: "POST", headers, body })
      const given = [
        ["/v1/things/{id}", "get", yield* ask("/v1/things/7", { headers })],
        ["/v1/things/{id}", "get", yield* ask("/v1/things/7")],
        ["/v1/things", "get", yield* ask("/v1/things", { headers })],
        ["/v1/things", "post", yield* post(`{"amount":1}`)],
        ["/v1/things", "post", yield* post(`{"amount":"1"}`)],
        ["/v1/things", "post", yield* post("{")],
        ["/v1/charging", "post", yield* ask("/v1/charging", { method: "POST", headers, body: "{}" })],
        ["/boom", "get", yield* ask("/boom")],
        ["/behind", "get", yield* ask("/behind")],
        ...(yield* Effect.forEach(Object.keys(table), (name) =>
          Effect.map(ask(`/fail/${name}`), (answer) => ["/fail/{name}", "get", answer] as const)
        ))
      ] as const
      for (const [path, method, answer] of given) conforms(trial, method, path, answer)
    }).pipe(Effect.provide(server()))
  )

  it("refuses what the server does not answer, so that the test above can fail", () => {
    const schema = { $ref: "#/components/schemas/idempotency-key-reused" }
    const body = {
      type: "/problems/idempotency-key-reused",
      status: 422,
      title: "Idempotency key reused",
      request_id: "r",
      safe_new_key: false,
      retryable: false
    }
    assert.isTrue(fits(trial, schema, body))
    assert.isFalse(fits(trial, schema, { ...body, status: 400 }))
    assert.isFalse(fits(trial, schema, { ...body, request_id: undefined, safe_new_key: true }))
    const { request_id: _, ...without } = body
    assert.isFalse(fits(trial, schema, without))
  })
})
