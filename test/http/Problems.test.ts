import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import { problemNames, table } from "../../src/domain/api/ProblemTable.ts"
import { type Answer, ask, newKey, parsed, raw, samples, server } from "./Trial.ts"

/** What every failure is, whoever found it. */
const isProblem = (answer: Answer, status: number, name: string) => {
  assert.strictEqual(answer.body["type"], `/problems/${name}`)
  assert.strictEqual(answer.status, status)
  assert.strictEqual(answer.headers.get("content-type"), "application/problem+json")
  assert.strictEqual(answer.body["status"], status)
  assert.isString(answer.body["title"])
  assert.match(String(answer.body["request_id"]), /^[A-Za-z0-9._-]{1,64}$/)
  assert.strictEqual(answer.headers.get("x-request-id"), answer.body["request_id"])
  assert.notMatch(answer.text, /hunter2|10\.0\.0\.7|\.ts:|node_modules|at .*\(/)
}

const json = { "content-type": "application/json" }

const places = (answer: Answer) =>
  (answer.body["errors"] as ReadonlyArray<{ in: string; pointer: string }>)
    .map((one) => `${one.in} ${one.pointer}`)
    .toSorted()

const answered = (id: string) =>
  Effect.map(ask("/nowhere", { headers: { "x-request-id": id } }), (answer) => answer.body["request_id"])

describe("Problems", () => {
  it.live("leave with the status, title, members and headers of their row", () =>
    Effect.gen(function* () {
      for (const name of problemNames) {
        const answer = yield* ask(`/fail/${name}`)
        isProblem(answer, table[name].status, name)
        assert.strictEqual(answer.body["title"], table[name].title)
        const sample = samples[name] as unknown as Record<string, unknown>
        for (const member of Object.keys(table[name].members)) {
          assert.deepStrictEqual(answer.body[member], sample[member], `${name}.${member}`)
        }
      }
    }).pipe(Effect.provide(server()))
  )

  it.live("say in whole seconds, rounded up, when to come back", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/fail/quota-exceeded")).headers.get("retry-after"), "2")
      assert.strictEqual((yield* ask("/fail/overloaded")).headers.get("retry-after"), "1")
      assert.strictEqual(
        (yield* ask("/fail/unauthenticated")).headers.get("www-authenticate"),
        `Bearer realm="cribwork"`
      )
    }).pipe(Effect.provide(server()))
  )

  it.live("are what becomes of everything outside the contract", () =>
    Effect.gen(function* () {
      const headers = { ...json, ...(yield* newKey()) }
      const post = (body: string, more = {}) =>
        ask("/v1/things", { method: "POST", body, headers: { ...headers, ...more } })
      isProblem(yield* ask("/nowhere"), 404, "not-found")
      isProblem(yield* ask("/v1/things/%zz", { headers }), 404, "not-found")
      isProblem(yield* ask("/v1/things/a%00b", { headers }), 400, "malformed-request")
      isProblem(yield* ask(`/v1/things?x=${"y".repeat(5000)}`, { headers }), 414, "uri-too-long")
      isProblem(yield* post(""), 400, "malformed-json")
      isProblem(yield* post("{"), 400, "malformed-json")
      isProblem(yield* post("{}", { "content-type": "text/plain" }), 415, "unsupported-media-type")
      isProblem(yield* post(`{"a":"${"x".repeat(70_000)}"}`), 413, "payload-too-large")
      isProblem(yield* post("x".repeat(2_000_000)), 413, "payload-too-large")
      isProblem(yield* ask("/boom"), 500, "internal")
      isProblem(yield* ask("/unencodable"), 500, "internal")
      isProblem(yield* ask("/behind"), 503, "unavailable")
    }).pipe(Effect.provide(server()))
  )

  it.live("stand at every path that is not spelled exactly", () =>
    Effect.gen(function* () {
      const headers = yield* newKey()
      assert.strictEqual((yield* ask("/v1/things", { headers })).status, 200)
      for (const path of ["//v1/things", "/v1//things", "/V1/things", "/v1/things%2F"]) {
        isProblem(yield* ask(path, { headers }), 404, "not-found")
        isProblem(yield* ask(path, { headers, method: "DELETE" }), 404, "not-found")
      }
    }).pipe(Effect.provide(server()))
  )

  it.live("name every wrong place of a request by its JSON pointer, unknown members too", () =>
    Effect.gen(function* () {
      const headers = { ...json, ...(yield* newKey()) }
      const wrong = `{"amount":"1","a/b~c":"2","captur":false}`
      const answer = yield* ask("/v1/things", { method: "POST", body: wrong, headers })
      isProblem(answer, 422, "invalid-request")
      assert.deepStrictEqual(places(answer), ["body /amount", "body /a~1b~0c", "body /captur"])
      const query = yield* ask("/v1/things?limit=1000", { headers })
      isProblem(query, 422, "invalid-request")
      assert.deepStrictEqual(places(query), ["query /limit"])
      const charge = yield* ask("/v1/charging", { method: "POST", body: "{}", headers })
      isProblem(charge, 422, "invalid-charge")
      assert.strictEqual(charge.body["safe_new_key"], true)
      const mess = `{${Array.from({ length: 1000 }, (_, one) => `"m${one}":1`).join(",")}}`
      assert.strictEqual(places(yield* ask("/v1/things", { method: "POST", body: mess, headers })).length, 32)
    }).pipe(Effect.provide(server()))
  )

  it.live("tell a wrong method which ones the path has", () =>
    Effect.gen(function* () {
      const answer = yield* ask("/v1/things/1", { method: "DELETE" })
      isProblem(answer, 405, "method-not-allowed")
      assert.strictEqual(answer.headers.get("allow"), "GET, HEAD, OPTIONS")
      assert.strictEqual((yield* ask("/v1/things", { method: "PUT" })).headers.get("allow"), "GET, POST, HEAD, OPTIONS")
      const options = yield* ask("/v1/things", { method: "OPTIONS" })
      assert.strictEqual(options.status, 204)
      assert.strictEqual(options.headers.get("allow"), "GET, POST, HEAD, OPTIONS")
      isProblem(yield* ask("/nowhere", { method: "OPTIONS" }), 404, "not-found")
      const head = yield* ask("/trace", { method: "HEAD" })
      assert.strictEqual(head.status, 200)
      assert.strictEqual(head.text, "")
    }).pipe(Effect.provide(server()))
  )

  it.live("answer under the caller's request id if it is sane, else under one of ours", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* answered("order-66_a.b"), "order-66_a.b")
      assert.notStrictEqual(yield* answered("a b"), "a b")
      assert.notStrictEqual(yield* answered("x".repeat(65)), "x".repeat(65))
      assert.notStrictEqual(yield* answered(""), yield* answered(""))
    }).pipe(Effect.provide(server()))
  )

  it.live("are what Node's parser refuses, too", () =>
    Effect.gen(function* () {
      const statuses = {
        "GET /x y HTTP/1.1\r\n\r\n": 400,
        "\u0016\u0003\u0001\u0002": 400,
        "GET / HTTP/1.1\r\nHost: a\r\nBad Header: 1\r\n\r\n": 400,
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u0000\r\n\r\n": 400,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx": 400,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx": 400,
        [`GET / HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(20_000)}\r\n\r\n`]: 431,
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n": 400,
        "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n": 405,
        "GET /trace HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nConnection: close\r\n\r\n": 417,
        "GET /nowhere HTTP/1.0\r\n\r\n": 404,
        "GET http://a/nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": 404,
        "GET http:// HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": 404,
        "gEt /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": 400
      }
      for (const [request, status] of Object.entries(statuses)) {
        const answer = yield* raw(request)
        const shown = JSON.stringify(request.slice(0, 60))
        assert.match(answer, new RegExp(`^HTTP/1\\.[01] ${status} `), shown)
        assert.match(answer, /content-type: application\/problem\+json/i, shown)
        const id = /x-request-id: (\S+)/i.exec(answer)?.[1]
        const body = parsed(answer.slice(answer.indexOf("\r\n\r\n") + 4))
        assert.strictEqual(body["request_id"], id, shown)
        assert.strictEqual(body["status"], status, shown)
      }
    }).pipe(Effect.provide(server()))
  )
})
