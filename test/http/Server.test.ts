import { connect } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Layer, Metric, Scope } from "effect"

import { Readiness } from "../../src/layers/platform/Readiness.ts"
import { ask, bigBytes, newKey, port, raw, server } from "./Trial.ts"

/** Does anybody still listen? */
const listens = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.once("error", () => resume(Effect.succeed(false)))
  })

/** A server whose end is ours to choose. */
const started = (environment: Record<string, string>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(server(environment), scope)
    return { context, stop: Scope.close(scope, Exit.void), port: yield* Effect.provideContext(port, context) }
  })

/** Waits until the server has begun with a request of ours. */
const answering = Effect.sleep("60 millis")

const request = (path: string, id: string, last = "") =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${id}\r\n${last}\r\n`

describe("Server", () => {
  it.live("gives a client its time for the head of a request, and no more", () =>
    Effect.gen(function* () {
      const began = yield* Clock.currentTimeMillis
      const answer = yield* raw("GET / HTTP/1.1\r\nHost: a\r\nX: ", { dripping: "x" })
      assert.match(answer, /^HTTP\/1\.1 408 [\s\S]*\/problems\/request-timeout/)
      const took = (yield* Clock.currentTimeMillis) - began
      assert.isAtLeast(took, 200)
      assert.isBelow(took, 2000)
    }).pipe(Effect.provide(server({ HTTP_HEADERS_TIMEOUT: "200 millis" })))
  )

  it.live("gives a client its time for a whole request, and no more", () =>
    Effect.gen(function* () {
      const { authorization } = yield* newKey()
      const began = yield* Clock.currentTimeMillis
      const answer = yield* raw(
        `POST /v1/things HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n`,
        { dripping: "x" }
      )
      assert.match(answer, /^HTTP\/1\.1 408 [\s\S]*\/problems\/request-timeout/)
      assert.isAtLeast((yield* Clock.currentTimeMillis) - began, 300)
    }).pipe(Effect.provide(server({ HTTP_HEADERS_TIMEOUT: "200 millis", HTTP_REQUEST_TIMEOUT: "300 millis" })))
  )

  it.live("turns away what is more than it takes at once, and takes it when there is room", () =>
    Effect.gen(function* () {
      const busy = yield* Effect.forkChild(ask("/nap/300"))
      yield* answering
      const answer = yield* ask("/trace")
      assert.strictEqual(answer.status, 503)
      assert.strictEqual(answer.body["type"], "/problems/overloaded")
      assert.strictEqual(answer.headers.get("retry-after"), "1")
      assert.strictEqual((yield* Fiber.join(busy)).status, 200)
      assert.strictEqual((yield* ask("/trace")).status, 200)
    }).pipe(Effect.provide(server({ HTTP_REQUESTS_MAX: "1" })))
  )

  it.live("gives up on a route that hangs, and frees its place", () =>
    Effect.gen(function* () {
      const began = yield* Clock.currentTimeMillis
      const answer = yield* ask("/hang")
      assert.strictEqual(answer.body["type"], "/problems/unavailable")
      assert.strictEqual(answer.body["detail"], "The route took too long.")
      assert.strictEqual(answer.status, 503)
      assert.isBelow((yield* Clock.currentTimeMillis) - began, 1500)
      assert.strictEqual((yield* ask("/trace")).status, 200)
    }).pipe(Effect.provide(server({ HTTP_ANSWER_TIMEOUT: "200 millis", HTTP_REQUESTS_MAX: "1" })))
  )

  it.live("lets a route wait longer when the client asked it to wait", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/nap/500")).status, 503)
      assert.strictEqual((yield* ask("/nap/500", { headers: { prefer: "wait=1" } })).status, 200)
    }).pipe(Effect.provide(server({ HTTP_ANSWER_TIMEOUT: "200 millis", HTTP_WAIT_MAX: "1 second" })))
  )

  it.live("writes no refusal into the middle of an answer", () =>
    Effect.gen(function* () {
      const heard = yield* raw("GET /big HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", { deafMillis: 1000 })
      assert.match(heard, /^HTTP\/1\.1 200 /)
      assert.notInclude(heard, "HTTP/1.1 408")
    }).pipe(Effect.provide(server({ HTTP_HEADERS_TIMEOUT: "200 millis", HTTP_REQUEST_TIMEOUT: "300 millis" })))
  )

  it.live("frees the place of a client that left, and takes it for nobody's failure", () =>
    Effect.gen(function* () {
      const gone = yield* Effect.forkChild(ask("/hang"))
      yield* answering
      assert.strictEqual((yield* ask("/trace")).status, 503)
      yield* Fiber.interrupt(gone)
      yield* answering
      assert.strictEqual((yield* ask("/trace")).status, 200)
      const counted = (yield* Metric.snapshot).filter(
        ({ attributes, id }) =>
          id === "cribwork_http_requests_total" && attributes?.["route"] === "/hang" && attributes["status"] === "499"
      )
      assert.strictEqual(counted.length, 1)
    }).pipe(Effect.provide(server({ HTTP_REQUESTS_MAX: "1" })))
  )

  it.live("closes connections above its limit", () =>
    Effect.gen(function* () {
      const held = yield* Effect.forkChild(raw("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"))
      yield* answering
      assert.strictEqual(yield* raw("GET /trace HTTP/1.1\r\nHost: a\r\n\r\n"), "")
      yield* Fiber.interrupt(held)
    }).pipe(Effect.provide(server({ HTTP_CONNECTIONS_MAX: "1" })))
  )

  it.live("closes a connection that has been idle for its time", () =>
    Effect.gen(function* () {
      const began = yield* Clock.currentTimeMillis
      assert.match(yield* raw("GET /trace HTTP/1.1\r\nHost: a\r\n\r\n"), /^HTTP\/1\.1 200 /)
      assert.isBelow((yield* Clock.currentTimeMillis) - began, 3000)
    }).pipe(Effect.provide(server({ HTTP_KEEP_ALIVE: "100 millis" })))
  )

  it.live("answers requests that were sent without waiting in their order, each under its own id", () =>
    Effect.gen(function* () {
      const heard = yield* raw(
        request("/nap/150", "one") + request("/nowhere", "two") + request("/nap/1", "three", "Connection: close\r\n")
      )
      const answers = [...heard.matchAll(/HTTP\/1\.1 (\d{3}) [\s\S]*?x-request-id: (\w+)/g)].map(([, status, id]) => [
        status,
        id
      ])
      assert.deepStrictEqual(answers, [
        ["200", "one"],
        ["404", "two"],
        ["200", "three"]
      ])
    }).pipe(Effect.provide(server()))
  )

  it.live("lets go of a client that asks and never reads, and keeps its place for others", () =>
    Effect.gen(function* () {
      const deaf = yield* Effect.forkChild(raw("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", { deafMillis: 2500 }))
      yield* Effect.sleep("500 millis")
      assert.strictEqual((yield* ask("/trace")).status, 200)
      const heard = yield* Fiber.join(deaf)
      assert.match(heard, /^HTTP\/1\.1 200 /)
      assert.isBelow(heard.length, bigBytes)
    }).pipe(
      Effect.provide(
        server({
          HTTP_REQUESTS_MAX: "1",
          HTTP_HEADERS_TIMEOUT: "300 millis",
          HTTP_REQUEST_TIMEOUT: "300 millis",
          HTTP_ANSWER_TIMEOUT: "300 millis",
          HTTP_WAIT_MAX: "300 millis"
        })
      )
    )
  )

  it.live("answers a whole request before it hangs up over the bytes that follow it", () =>
    Effect.gen(function* () {
      const heard = yield* raw("GET /nap/150 HTTP/1.1\r\nHost: a\r\n\r\n\u0000\u0001garbage\r\n\r\n")
      assert.match(heard, /^HTTP\/1\.1 200 /)
      assert.strictEqual(heard.split("HTTP/1.1 ").length, 2)
    }).pipe(Effect.provide(server()))
  )

  it.live("says once why it hangs up, and hangs up on a client that goes on", () =>
    Effect.gen(function* () {
      const began = yield* Clock.currentTimeMillis
      const heard = yield* raw("\u0000\r\n\r\n", { dripping: "\u0000\r\n", stays: true })
      assert.strictEqual(heard.split("HTTP/1.1 400").length, 2)
      assert.isBelow((yield* Clock.currentTimeMillis) - began, 3000)
    }).pipe(Effect.provide(server()))
  )

  it.live("ignores an upgrade it has no use for, also with a body", () =>
    Effect.gen(function* () {
      const { authorization } = yield* newKey()
      const chunked = `Authorization: ${authorization}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n`
      const body = `c\r\n{"amount":1}\r\n0\r\n\r\n`
      assert.match(yield* raw(`POST /v1/things HTTP/1.1\r\nHost: a\r\n${chunked}\r\n${body}`), /^HTTP\/1\.1 201 /)
      const upgrade = "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
      assert.match(yield* raw(`GET /trace HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`), /^HTTP\/1\.1 200 /)
    }).pipe(Effect.provide(server()))
  )

  it.live("answers what it has begun before it stops, and takes nothing new meanwhile", () =>
    Effect.gen(function* () {
      const { context, port, stop } = yield* started({})
      const idle = yield* Effect.forkChild(raw("").pipe(Effect.provideContext(context)))
      const begun = yield* Effect.forkChild(ask("/nap/400").pipe(Effect.provideContext(context)))
      yield* answering
      const stopping = yield* Effect.forkChild(stop)
      yield* answering
      assert.isTrue(Context.get(context, Readiness).isStopping())
      assert.isFalse(yield* listens(port))
      const answer = yield* Fiber.join(begun)
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers.get("connection"), "close")
      yield* Fiber.join(stopping)
      assert.strictEqual(yield* Fiber.join(idle), "")
    })
  )

  it.live("stops after its drain time, whoever hangs", () =>
    Effect.gen(function* () {
      const { context, stop } = yield* started({ HTTP_DRAIN: "200 millis" })
      const hanging = yield* Effect.forkChild(
        raw("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").pipe(Effect.provideContext(context))
      )
      yield* answering
      const began = yield* Clock.currentTimeMillis
      yield* stop
      const took = (yield* Clock.currentTimeMillis) - began
      assert.isAtLeast(took, 190)
      assert.isBelow(took, 1500)
      assert.strictEqual(yield* Fiber.join(hanging), "")
    })
  )
})
