import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Metric } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"

import { BreakerError } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as Deadline from "../../src/domain/Deadline.ts"
import * as HostBreakers from "../../src/layers/breakers/HostBreakers.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const layer = MemoryBreakers.layerWith({
  failuresMax: 1,
  window: Duration.seconds(30),
  windowCap: Duration.seconds(60),
  fleet: 10
})
const policy = { timeout: Duration.seconds(5) }

/** Hosts that are called `bad…` answer 500. */
const asked: Array<string | undefined> = []
const bare = HttpClient.make((request, { hostname }) => {
  asked.push(request.headers[Deadline.header])
  return Effect.succeed(
    HttpClientResponse.fromWeb(request, new Response("", { status: hostname.startsWith("bad") ? 500 : 200 }))
  )
})
const family = (options: Partial<HostBreakers.Options> = {}) =>
  HostBreakers.wrap(bare, { family: "hooks", policy, ...options })
const names = Effect.flatMap(Breakers, ({ snapshots }) =>
  Effect.map(snapshots, (all) => all.map(({ dependency }) => dependency).toSorted())
)

describe("HostBreakers", () => {
  it.effect("keep hosts apart, each under its own name, and tell no stranger a deadline", () =>
    Effect.gen(function* () {
      const client = yield* family()
      assert.deepStrictEqual(yield* names, [])
      yield* Deadline.within("9 seconds")(client.post("https://bad.example/hook"))
      yield* client.post("https://good.example/hook")
      const refused = yield* Effect.flip(client.get("https://bad.example/other"))
      assert(refused instanceof BreakerError)
      assert.deepStrictEqual([refused.dependency, refused.reason._tag], ["hooks/bad.example", "CircuitOpen"])
      yield* client.post("https://bad.example:8443/hook")
      assert.deepStrictEqual(yield* names, ["hooks/bad.example", "hooks/bad.example:8443", "hooks/good.example"])
      assert.isTrue(asked.every((told) => told === undefined))
    }).pipe(Effect.provide(layer))
  )

  it.effect("are bounded: one more host costs the longest unused that is closed its breaker, or else the oldest", () =>
    Effect.gen(function* () {
      const client = yield* family({ hostsMax: 3 })
      for (const host of ["bad1", "one", "two", "one", "three"]) yield* client.get(`http://${host}/`)
      assert.deepStrictEqual(yield* names, ["hooks/bad1", "hooks/one", "hooks/three"])
      for (const host of ["bad2", "bad3", "bad4"]) yield* client.get(`http://${host}/`)
      assert.deepStrictEqual(yield* names, ["hooks/bad2", "hooks/bad3", "hooks/bad4"])
      for (let n = 0; n < 1500; n++) yield* Effect.ignore(client.get(`http://host-${n}/`))
      assert.lengthOf(yield* names, 3)
    }).pipe(Effect.provide(layer))
  )

  it.effect("never push another dependency out of the registry, whatever is asked for", () =>
    Effect.gen(function* () {
      yield* (yield* Breakers).declare(Dependency.make("psp", "http", policy))
      const client = yield* family({ hostsMax: 1_000_000 })
      for (let n = 0; n < 1500; n++) yield* client.get(`http://host-${n}/`)
      assert.include(yield* names, "psp")
    }).pipe(Effect.provide(layer))
  )

  it.effect("are dropped when they were unused for long, by whoever comes next", () =>
    Effect.gen(function* () {
      const client = yield* family({ idleAfter: "1 minute" })
      yield* client.get("http://old/")
      yield* client.get("http://used/")
      yield* TestClock.adjust("40 seconds")
      yield* client.get("http://used/")
      yield* TestClock.adjust("40 seconds")
      yield* client.get("http://new/")
      assert.deepStrictEqual(yield* names, ["hooks/new", "hooks/used"])
    }).pipe(Effect.provide(layer))
  )

  it.effect("are counted under the name of their family alone", () =>
    Effect.gen(function* () {
      const client = yield* family({ family: "counted" })
      for (let n = 0; n < 5; n++) yield* client.get(`http://bad-${n}/`)
      const series = (yield* Metric.snapshot).filter(({ attributes }) =>
        attributes?.["dependency"]?.startsWith("counted")
      )
      assert.isTrue(series.every(({ attributes }) => attributes?.["dependency"] === "counted"))
      const failed = series.find(
        ({ attributes, id }) => id === "cribwork_breakers_calls_total" && attributes?.["outcome"] === "failure"
      )
      assert(failed?.type === "Counter")
      assert.strictEqual(Number(failed.state.count), 5)
      assert.isUndefined(series.find(({ id }) => id === "cribwork_breakers_state"))
    }).pipe(Effect.provide(layer))
  )

  it.effect("say at once what is wrong with their policy", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(family({ policy: { timeout: Duration.zero } }))
      assert.include(refused.message, "breaker hooks: the timeout must be positive")
    }).pipe(Effect.provide(layer))
  )
})
