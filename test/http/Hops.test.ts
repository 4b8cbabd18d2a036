/** Three services in a row, each with breakers of its own, over real HTTP: whose fault is it? */
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Duration, Effect, Layer, Logger, Option, Schema } from "effect"
import { FetchHttpClient, HttpClient, type HttpClientResponse, type HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

import * as Culprit from "../../src/domain/api/Culprit.ts"
import { Edge } from "../../src/domain/api/Edge.ts"
import { problemOf } from "../../src/domain/api/Failure.ts"
import { Unavailable } from "../../src/domain/api/Problem.ts"
import { BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as HttpBreaker from "../../src/layers/breakers/HttpBreaker.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as EdgeProblems from "../../src/layers/http/EdgeProblems.ts"
import * as Server from "../../src/layers/http/Server.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { ask, port } from "./Trial.ts"

class HopApi extends HttpApi.make("hop")
  .add(HttpApiGroup.make("hop").add(HttpApiEndpoint.get("on", "/on", { success: Schema.String })))
  .middleware(Edge) {}

const decodePath = Schema.decodeUnknownOption(Schema.Struct({ path: Schema.Array(Schema.String) }))

/** What an answer comes to for who asked `name`: its text, or a failure that says whose it is. */
const understood = Effect.fnUntraced(function* (name: string, answer: HttpClientResponse.HttpClientResponse) {
  if (answer.status === 200) return yield* answer.text
  const body = yield* Effect.option(answer.json)
  const further = Option.match(Option.flatMap(body, decodePath), { onNone: () => [], onSome: ({ path }) => path })
  return yield* Culprit.blamed(new Unavailable({}), [name, ...further])
})

/**
 * A service that asks `url` through the breaker of `name`, in a process' worth of layers of its own. Each asks the
 * next for less time than it is asked for itself, or its breaker would refuse to begin.
 */
const hop = (name: string, url: string, timeout: Duration.Input) => {
  const handlers = HttpApiBuilder.group(
    HopApi,
    "hop",
    Effect.fnUntraced(function* (group) {
      const policy = { timeout: Duration.fromInputUnsafe(timeout), windowCap: Duration.minutes(1) }
      const dependency = Dependency.make(name, "http", policy)
      const client = yield* HttpBreaker.wrap(yield* HttpClient.HttpClient, dependency, { ours: [new URL(url).host] })
      return group.handle("on", () =>
        client.get(url).pipe(
          Effect.flatMap((answer) => understood(name, answer)),
          Effect.mapError((error) =>
            error instanceof BreakerError
              ? problemOf(error)
              : error instanceof Unavailable
                ? error
                : new Unavailable({})
          )
        )
      )
    })
  )
  return Server.layer(
    HopApi,
    HttpApiBuilder.layer(HopApi).pipe(Layer.provide(handlers), Layer.provide(EdgeProblems.layer))
  ).pipe(
    Layer.provideMerge(Layer.mergeAll(Readiness.layer, MemoryBreakers.layer)),
    Layer.provideMerge(Settings.layer),
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
    Layer.provide(Logger.layer([])),
    Layer.fresh
  )
}

const states = (service: Context.Context<Breakers>) =>
  Effect.map(Context.get(service, Breakers).snapshots, (all) => all.map(({ dependency, state }) => [dependency, state]))

const started = (name: string, url: string, timeout: Duration.Input) =>
  Effect.gen(function* () {
    const service: Context.Context<HttpServer.HttpServer | Breakers> = yield* Layer.build(hop(name, url, timeout))
    return { service, url: `http://127.0.0.1:${yield* Effect.provideContext(port, service)}/on` }
  })

/** The last of the row, which answers with what is asked of it. */
const last = (status: () => number) =>
  Effect.gen(function* () {
    const server = createServer((_, response) => response.writeHead(status()).end("c"))
    yield* Effect.addFinalizer(() => Effect.sync(() => server.close().closeAllConnections()))
    yield* Effect.promise(() => once(server.listen(0, "127.0.0.1"), "listening"))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  })

describe("A service behind a service behind a service", () => {
  it.live("is the only one whose breaker opens, and every error names it and the way there", () =>
    Effect.gen(function* () {
      let status = 200
      const b = yield* started("c", yield* last(() => status), "2 seconds")
      const a = yield* started("b", b.url, "4 seconds")
      const asked = ask("/on").pipe(Effect.provideContext(a.service))
      assert.strictEqual((yield* asked).status, 200)
      status = 500
      const types = new Set<unknown>()
      for (let count = 0; count < 30; count++) {
        const answer = yield* asked
        assert.strictEqual(answer.status, 503)
        types.add(answer.body["type"])
        assert.deepStrictEqual([answer.body["dependency"], answer.body["path"]], ["c", ["b", "c"]])
      }
      assert.include([...types], "/problems/dependency-unavailable")
      assert.deepStrictEqual(yield* states(b.service), [["c", "open"]])
      assert.deepStrictEqual(yield* states(a.service), [["b", "closed"]])
    }).pipe(Effect.scoped)
  )
})
