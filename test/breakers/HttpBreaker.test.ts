import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer } from "effect"
import { HttpClient, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"

import { Breaker, BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as Deadline from "../../src/domain/Deadline.ts"
import * as HttpBreaker from "../../src/layers/breakers/HttpBreaker.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const layer = MemoryBreakers.layerWith({
  failuresMax: 2,
  window: Duration.seconds(1),
  windowCap: Duration.seconds(30),
  fleet: 10
})
const service = Dependency.make("b", "http", { timeout: Duration.seconds(5) })

/** A client whose every answer the test decides, and what it was asked. */
const answering = (answer: () => Response | undefined) => {
  const asked: Array<HttpClientRequest.HttpClientRequest> = []
  const client = HttpClient.make((request) => {
    asked.push(request)
    const response = answer()
    return response === undefined ? Effect.never : Effect.succeed(HttpClientResponse.fromWeb(request, response))
  })
  return { asked, client }
}

const stateOf = Effect.flatMap(Breaker, (breaker) => Effect.map(breaker.permits(service), ({ state }) => state))
const said = (status: number, body: unknown = {}, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers })
const problem = (body: unknown) => said(503, body, { "content-type": "application/problem+json; charset=utf-8" })

describe("HttpBreaker", () => {
  it.effect("counts 5xx, 408, 429 and silence, and nothing that is the caller's fault", () =>
    Effect.gen(function* () {
      for (const [status, state] of [
        [200, "closed"],
        [404, "closed"],
        [422, "closed"],
        [501, "closed"],
        [500, "open"],
        [503, "open"],
        [408, "open"],
        [429, "open"]
      ] as const) {
        yield* Effect.gen(function* () {
          const client = yield* HttpBreaker.wrap(answering(() => said(status)).client, service)
          for (let n = 0; n < 2; n++) assert.strictEqual((yield* client.get("http://b/")).status, status)
          assert.strictEqual(yield* stateOf, state, String(status))
        }).pipe(Effect.provide(Layer.fresh(layer)))
      }
    })
  )

  it.effect("stays away for as long as the answer asks", () =>
    Effect.gen(function* () {
      const client = yield* HttpBreaker.wrap(answering(() => said(503, {}, { "retry-after": "9" })).client, service)
      yield* client.get("http://b/")
      yield* client.get("http://b/")
      const { reason } = yield* Effect.flip(client.get("http://b/"))
      assert(reason._tag === "CircuitOpen")
      assert.isAtLeast(Duration.toMillis(reason.retryAfter), 9000)
    }).pipe(Effect.provide(layer))
  )

  it.effect("asks once, unless told otherwise, and a write once whatever it is told", () =>
    Effect.gen(function* () {
      for (const method of ["get", "post"] as const) {
        const { asked, client: bare } = answering(() => said(500))
        const client = yield* HttpBreaker.wrap(bare, service, method === "get" ? {} : { retries: 5 })
        yield* client[method]("http://b/")
        assert.strictEqual(asked.length, 1, method)
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("asks for a read again as often as it may, as one call with one outcome", () =>
    Effect.gen(function* () {
      let answers = [500, 502, 200]
      const { asked, client: bare } = answering(() => said(answers.shift() ?? 500))
      const client = yield* HttpBreaker.wrap(bare, service, { retries: 2 })
      const asking = yield* Effect.forkChild(client.get("http://b/"), { startImmediately: true })
      yield* TestClock.adjust("49 millis")
      assert.strictEqual(asked.length, 1, "it pauses")
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asking)).status, 200)
      assert.strictEqual(asked.length, 3)

      answers = []
      const failing = yield* Effect.forkChild(client.get("http://b/"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(failing)).status, 500)
      assert.strictEqual(asked.length, 6)
      assert.strictEqual(yield* stateOf, "closed", "three answers of 500 count as one failure of two")
    }).pipe(Effect.provide(layer))
  )

  it.effect("does not ask again where it was told when to come back, or to leave", () =>
    Effect.gen(function* () {
      for (const answer of [said(404), said(429), said(503, {}, { "retry-after": "1" })]) {
        const { asked, client: bare } = answering(() => answer)
        const client = yield* HttpBreaker.wrap(bare, service, { retries: 2 })
        yield* client.get("http://b/")
        assert.strictEqual(asked.length, 1, String(answer.status))
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("repeats within one timeout, and tells our own service less each time", () =>
    Effect.gen(function* () {
      const { asked, client: bare } = answering(() => said(500))
      const slow = HttpClient.transform(bare, (call) => Effect.delay(call, "2 seconds"))
      const client = yield* HttpBreaker.wrap(slow, service, { ours: ["b"], retries: 5 })
      const asking = yield* Effect.forkChild(Effect.flip(Deadline.within("9 seconds")(client.get("http://b/"))), {
        startImmediately: true
      })
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(asking)
      assert(error instanceof BreakerError && error.reason._tag === "CallTimedOut")
      const [first = 0, second = 0, ...more] = asked.map(({ headers }) => Number(headers[Deadline.header]))
      assert.deepStrictEqual([first, more], [5000, []])
      assert.isAtMost(second, 5000 - 2000 - 50)
    }).pipe(Effect.provide(layer))
  )

  it.effect("gives up a call at its timeout, and says so", () =>
    Effect.gen(function* () {
      const { asked, client: bare } = answering(() => undefined)
      const client = yield* HttpBreaker.wrap(bare, service)
      const failed = yield* Effect.forkChild(Effect.flip(client.post("http://b/pay")), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(failed)
      assert(error instanceof BreakerError && error.reason._tag === "CallTimedOut")
      assert.strictEqual(asked.length, 1)
    }).pipe(Effect.provide(layer))
  )

  it.effect("tells our own services, and nobody else, for how long it waits", () =>
    Effect.gen(function* () {
      const { asked, client: bare } = answering(() => said(200))
      const other = Dependency.make("stranger", "http", service.policy)
      const ours = yield* HttpBreaker.wrap(bare, service, { ours: ["b"] })
      const theirs = yield* HttpBreaker.wrap(bare, other)
      yield* Deadline.within("9 seconds")(
        // The third is where a redirect could lead.
        Effect.all([ours.get("http://b/"), theirs.get("http://b/"), ours.get("http://b.evil/"), ours.get("//")])
      ).pipe(Effect.ignore)
      yield* ours.get("http://b/")
      assert.deepStrictEqual(
        asked.map(({ headers }) => headers[Deadline.header]),
        ["5000", undefined, undefined, "5000"]
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("goes on with what a breaker of our own service said, and does not hold it against the service", () =>
    Effect.gen(function* () {
      const { client: bare } = answering(() =>
        problem({
          type: "/problems/dependency-unavailable",
          title: "x",
          dependency: "c",
          path: ["c"],
          retry_after_ms: 1500
        })
      )
      const client = yield* HttpBreaker.wrap(bare, service, { ours: ["b"] })
      for (let n = 0; n < 5; n++) {
        const error = yield* Effect.flip(client.get("http://b/"))
        assert.instanceOf(error, BreakerError)
        assert.deepStrictEqual([error.dependency, error.path], ["c", ["b", "c"]])
        assert(error.reason._tag === "CircuitOpen")
        assert.strictEqual(Duration.toMillis(error.reason.retryAfter), 1500)
      }
      assert.strictEqual(yield* stateOf, "closed")
    }).pipe(Effect.provide(layer))
  )

  it.effect("does not believe a stranger's problem, nor one that is none", () =>
    Effect.gen(function* () {
      const word = { type: "/problems/dependency-unavailable", dependency: "c", path: ["c"] }
      const stranger = yield* HttpBreaker.wrap(answering(() => problem(word)).client, service)
      assert.strictEqual((yield* stranger.get("http://b/")).status, 503)
      const long = { ...word, path: Array.from({ length: 99 }, () => "c") }
      const ours = yield* HttpBreaker.wrap(answering(() => problem(long)).client, service, { ours: ["b"] })
      const response = yield* ours.get("http://b/")
      assert.deepStrictEqual(yield* response.json, long, "the body can still be read")
      assert.strictEqual(yield* stateOf, "open")
    }).pipe(Effect.provide(layer))
  )

  it.effect("refuses a policy that cannot be kept before anything is asked", () =>
    Effect.gen(function* () {
      const wrong = Dependency.make("wrong", "http", { timeout: Duration.zero })
      const refused = yield* Effect.flip(HttpBreaker.wrap(answering(() => said(200)).client, wrong))
      assert.include(refused.message, "breaker wrong: the timeout must be positive")
      yield* (yield* Breakers).declare(service)
    }).pipe(Effect.provide(layer))
  )
})
