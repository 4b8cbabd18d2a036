import { once } from "node:events"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"

import * as Deadline from "../../src/domain/Deadline.ts"
import { forwardDeadline } from "../../src/layers/platform/ForwardDeadline.ts"
import { ask, port, raw, server } from "./Trial.ts"

const two = { HTTP_ANSWER_TIMEOUT: "2 seconds", HTTP_WAIT_MAX: "10 seconds" }

/** What is left when the route asks, which it does within a few milliseconds. */
const left = (headers: Record<string, string> = {}) =>
  Effect.map(ask("/left", { headers }), ({ body, text }) => Number(Object.keys(body).length === 0 ? text : Number.NaN))

const between = (millis: number, least: number, most: number) => {
  assert.isAbove(millis, least)
  assert.isAtMost(millis, most)
}

/** Sends one request with what `client` does to it, and gives the headers that arrive. */
const arriving = <A, E>(send: (url: string) => Effect.Effect<A, E, HttpClient.HttpClient>) =>
  Effect.gen(function* () {
    const there = createServer((_, response) => response.end())
    yield* Effect.addFinalizer(() => Effect.sync(() => there.close().closeAllConnections()))
    yield* Effect.promise(() => once(there.listen(0, "127.0.0.1"), "listening"))
    const arrived = once(there, "request") as Promise<[IncomingMessage]>
    yield* send(`http://127.0.0.1:${(there.address() as AddressInfo).port}`)
    const [{ headers }] = yield* Effect.promise(() => arrived)
    return headers
  }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer))

/** As a client of one of our own services does. */
const get = (url: string) =>
  Effect.flatMap(HttpClient.HttpClient, (client) =>
    HttpClient.mapRequestEffect(client, forwardDeadline).execute(HttpClientRequest.get(url))
  )

describe("RequestBudget", () => {
  it.live("is what a route has to answer, for all that is done for the request", () =>
    Effect.gen(function* () {
      between(yield* left(), 1000, 2000)
    }).pipe(Effect.provide(server(two)))
  )

  it.live("is longer by the wait that was asked for, and by no more than a wait may be", () =>
    Effect.gen(function* () {
      between(yield* left({ prefer: "wait=3" }), 4000, 5000)
      between(yield* left({ prefer: "wait=3600" }), 11_000, 12_000)
      between(yield* left({ prefer: "respond-async" }), 1000, 2000)
    }).pipe(Effect.provide(server(two)))
  )

  it.live("is narrowed by what the caller has left, and never extended", () =>
    Effect.gen(function* () {
      between(yield* left({ [Deadline.header]: "700" }), 0, 700)
      between(yield* left({ [Deadline.header]: "3600000" }), 1000, 2000)
      between(yield* left({ [Deadline.header]: "700", prefer: "wait=3" }), 0, 700)
      between(yield* left({ [Deadline.header]: "4000", prefer: "wait=3" }), 3000, 4000)
    }).pipe(Effect.provide(server(two)))
  )

  it.live("ends a route when its caller has gone, however long it might take", () =>
    Effect.gen(function* () {
      const began = yield* Clock.currentTimeMillis
      const answer = yield* ask("/hang", { headers: { [Deadline.header]: "200" } })
      assert.strictEqual(answer.body["detail"], "The route took too long.")
      assert.strictEqual(answer.status, 503)
      between((yield* Clock.currentTimeMillis) - began, 199, 1500)
    }).pipe(Effect.provide(server()))
  )

  it.live("does not begin what nobody waits for", () =>
    Effect.gen(function* () {
      const answer = yield* ask("/left", { headers: { [Deadline.header]: "0" } })
      assert.strictEqual(answer.body["detail"], "The caller had no time left.")
      assert.strictEqual(answer.body["type"], "/problems/unavailable")
    }).pipe(Effect.provide(server()))
  )

  it.live("is not guessed from a header that is none", () =>
    Effect.gen(function* () {
      for (const wrong of ["", "soon", "-1", "1.5", "1e3", "3600001", "99999999", "0x10", "5, 6"]) {
        const answer = yield* ask("/left", { headers: { [Deadline.header]: wrong } })
        assert.strictEqual(answer.status, 400, wrong)
        assert.strictEqual(answer.body["type"], "/problems/malformed-request")
        assert.include(String(answer.body["detail"]), Deadline.header)
      }
      const twice = yield* raw(
        `GET /left HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${`${Deadline.header}: 9\r\n`.repeat(2)}\r\n`
      )
      assert.match(twice, /^HTTP\/1\.1 400 /)
    }).pipe(Effect.provide(server()))
  )
})

describe("forwardDeadline", () => {
  it.live("tells the next service what is left, in whole milliseconds, and what it takes to be its own", () =>
    Effect.gen(function* () {
      const headers = yield* arriving((url) => Deadline.within("700 millis")(get(url)))
      assert.match(String(headers[Deadline.header]), /^\d+$/)
      between(Number(headers[Deadline.header]), 0, 700)
      const answer = yield* Deadline.within("700 millis")(get(`http://127.0.0.1:${yield* port}/left`))
      between(yield* Schema.decodeUnknownEffect(Schema.Finite)(yield* answer.json), 0, 700)
    }).pipe(Effect.provide([server(), FetchHttpClient.layer]))
  )

  it.live("says nothing where nobody waits", () =>
    Effect.gen(function* () {
      assert.notProperty(yield* arriving(get), Deadline.header)
    })
  )
})
