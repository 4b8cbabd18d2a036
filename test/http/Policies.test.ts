/** `/v1/limits/policies` of the house itself, in memory, over real HTTP. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Logger } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { search } from "../limits/Policies.suite.ts"
import { conforms, house as contract } from "./Conformance.ts"
import { type Answer, ask as asked, newKey } from "./Trial.ts"

const house = () =>
  Features.api.pipe(
    Layer.provideMerge(
      Layer.fresh(Layer.mergeAll(Memory.stack.books, MemoryLimiter.layer, Memory.stack.provider, Readiness.layer))
    ),
    Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
    Layer.provide(Logger.layer([]))
  )

const path = "/v1/limits/policies"

/** Every answer here is one that the document promises. */
const ask = (method: "get" | "put", init: RequestInit) =>
  Effect.tap(asked(path, { ...init, method: method.toUpperCase() }), (answer) =>
    Effect.sync(() => conforms(contract, method, path, answer))
  )
const read = (headers: Record<string, string>) => ask("get", { headers })
const replace = (headers: Record<string, string>, body: object) =>
  ask("put", {
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ reason: "more traffic", ...body })
  })
const take = (headers: Record<string, string>, body: object) =>
  asked("/v1/limits/take", {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ tenant: "shop", user: "ada", policies: ["search"], ...body })
  })

const operator = newKey({ scopes: ["limits:admin", "limits:use"], operator: true })
const wrong = ({ body }: Answer) =>
  (body["errors"] as ReadonlyArray<{ readonly pointer: string }>).map(({ pointer }) => pointer)

describe("/v1/limits/policies", () => {
  it.live("a document acts on the next decision, and the change of a limit keeps what was counted", () =>
    Effect.gen(function* () {
      const auth = yield* operator
      const before = yield* read(auth)
      assert.deepStrictEqual([before.body, before.headers.get("etag")], [{ version: 0, policies: [] }, '"0"'])
      assert.strictEqual((yield* take(auth, {})).status, 422)

      const first = yield* replace({ ...auth, "if-match": '"0"' }, { policies: [search] })
      assert.deepStrictEqual([first.status, first.headers.get("etag")], [200, '"1"'])
      assert.deepStrictEqual(first.body, { version: 1, policies: [search] })
      assert.deepStrictEqual((yield* read(auth)).body, first.body)
      assert.deepStrictEqual((yield* take(auth, { cost: 5 })).body["remaining"], [{ policy: "search", remaining: 0 }])
      assert.deepStrictEqual((yield* take(auth, {})).body["violated_policies"], ["search"])

      const limit = { small: 5, generous: 7 }
      yield* replace({ ...auth, "if-match": '"1"' }, { policies: [{ ...search, limit }] })
      assert.deepStrictEqual((yield* take(auth, {})).body["remaining"], [{ policy: "search", remaining: 1 }])
      const small = yield* newKey({ scopes: ["limits:use"], plan: "small" })
      assert.isFalse((yield* take(small, {})).body["allowed"])

      const entries = yield* (yield* AuditLog).list({ limit: 9 })
      const entry = entries.find(({ action }) => action === "limits.policies")
      assert.deepOwnInclude(entry ?? {}, { why: "more traffic", subject: "policies" })
      assert.match(entry?.actor ?? "", /^[0-9a-f]{16}$/)
    }).pipe(Effect.provide(house()))
  )

  it.live("two people who change it do not undo each other", () =>
    Effect.gen(function* () {
      const auth = yield* operator
      assert.strictEqual((yield* replace(auth, { policies: [search] })).status, 428)
      assert.strictEqual((yield* replace({ ...auth, "if-match": '"0"' }, { policies: [search] })).status, 200)
      for (const tag of ['"0"', '"2"', 'W/"1"', "*", "1", '"1", "2"', '"01"', ""]) {
        const { body, status } = yield* replace({ ...auth, "if-match": tag }, { policies: [] })
        assert.deepStrictEqual([status, body["type"]], [412, "/problems/precondition-failed"], tag)
      }
      assert.strictEqual((yield* read(auth)).headers.get("etag"), '"1"')
    }).pipe(Effect.provide(house()))
  )

  it.live("names the places of a bad document, and keeps the one before", () =>
    Effect.gen(function* () {
      const auth = { ...(yield* operator), "if-match": '"0"' }
      const wrongs: ReadonlyArray<readonly [object, ReadonlyArray<string>]> = [
        [{ policies: [search, search] }, ["/policies/1/name"]],
        [{ policies: [{ ...search, name: "public" }] }, ["/policies/0/name"]],
        [{ policies: [{ ...search, scope: "planet" }] }, ["/policies/0/scope"]],
        [{ policies: [{ ...search, limit: 1_000_000 }] }, ["/policies/0/expected_keys"]],
        [{ policies: [{ ...search, windows: 1 }] }, ["/policies/0/windows"]],
        [{ policies: [search], reason: "" }, ["/reason"]],
        [{}, ["/policies"]]
      ]
      for (const [body, places] of wrongs) {
        const answer = yield* replace(auth, body)
        assert.deepStrictEqual([answer.status, wrong(answer)], [422, places], JSON.stringify(body))
      }
      assert.deepStrictEqual((yield* read(auth)).body, { version: 0, policies: [] })
    }).pipe(Effect.provide(house()))
  )

  it.live("is for operators", () =>
    Effect.gen(function* () {
      const user = { ...(yield* newKey({ scopes: ["limits:use"] })), "if-match": '"0"' }
      for (const answer of [yield* read(user), yield* replace(user, { policies: [] })]) {
        assert.deepInclude(answer.body, { status: 403, scope: "limits:admin" })
      }
      assert.strictEqual((yield* read({})).status, 401)
    }).pipe(Effect.provide(house()))
  )
})
