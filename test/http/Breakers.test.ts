/** `/v1/breakers` of the house itself, in memory, over real HTTP. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, DateTime, Duration, Effect, Layer, Logger } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { BreakerReports } from "../../src/domain/breakers/BreakerReports.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import { ForcedStates } from "../../src/domain/breakers/ForcedStates.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { freshReporter, seen } from "../breakers/BreakerReports.suite.ts"
import { conforms, house as contract, templateOf } from "./Conformance.ts"
import { type Answer, ask as asked, newKey } from "./Trial.ts"

const house = () =>
  Features.api.pipe(
    Layer.provideMerge(
      Layer.fresh(Layer.mergeAll(Memory.stack.books, Memory.stack.limiter, Memory.stack.provider, Readiness.layer))
    ),
    Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
    Layer.provide(Logger.layer([]))
  )

/** Every answer here is one that the document promises. */
const ask = (path: string, init: RequestInit = {}) =>
  Effect.tap(asked(path, init), (answer) =>
    Effect.sync(() => conforms(contract, (init.method ?? "GET").toLowerCase(), templateOf(contract, path), answer))
  )

const reader = newKey({ scopes: ["ops:read"] })
const operator = newKey({ scopes: ["ops:read", "ops:admin"], operator: true })

interface Body {
  readonly state?: string
  readonly reason?: string
  readonly until?: string
}

const force = (auth: Record<string, string>, name: string, body: Body & Record<string, unknown>) =>
  ask(`/v1/breakers/${name}/force`, {
    method: "POST",
    headers: { ...auth, "content-type": "application/json" },
    body: JSON.stringify(body)
  })

const ahead = (duration: Duration.Input) =>
  Effect.map(DateTime.now, (now) => DateTime.formatIso(DateTime.addDuration(now, Duration.fromInputUnsafe(duration))))

const rows = ({ body }: Answer) => body["data"] as ReadonlyArray<Record<string, unknown>>
/** Beside those that the house has of its own. */
const ofGateway = (answer: Answer) => rows(answer).filter(({ dependency }) => dependency === "gateway")
const wrong = ({ body }: Answer) =>
  (body["errors"] as ReadonlyArray<{ readonly pointer: string; readonly detail: string }>).map(({ pointer }) => pointer)

/** A breaker of another process. */
const elsewhere = (dependency: string) =>
  Effect.gen(function* () {
    const reporter = freshReporter()
    yield* (yield* BreakerReports).publish(reporter, [
      seen(dependency, { state: "open", retryAfter: Duration.seconds(20), failuresInRow: 5, failureRate: 0.5 })
    ])
    return reporter
  })

const isObeyed = ({ dependency, program, state }: Record<string, unknown>) =>
  dependency === "gateway" && program === "cribwork" && state === "forced-open"

describe("GET /v1/breakers", () => {
  it.live("shows the breakers of all processes, where to look first on top", () =>
    Effect.gen(function* () {
      const { process } = yield* elsewhere("gateway")
      yield* (yield* Breakers).declare(Dependency.make("kafka", "kafka", { timeout: Duration.seconds(1) }))
      const auth = yield* reader
      const answer = yield* Effect.repeat(ask("/v1/breakers", { headers: auth }), {
        until: (answer) => rows(answer).some(({ dependency }) => dependency === "kafka")
      })
      const [culprit] = rows(answer)
      assert.deepOwnInclude(culprit ?? {}, {
        dependency: "gateway",
        kind: "http",
        process,
        program: "worker",
        state: "open",
        in_flight: 0,
        failures_in_row: 5,
        failure_rate: 0.5,
        slow_rate: null,
        admitted: 1,
        force: null
      })
      const [since, retry, ago] = ["since_ms", "retry_after_ms", "seen_ms_ago"].map((name) => Number(culprit?.[name]))
      assert.closeTo((since ?? 0) - (ago ?? 0), 5000, 2)
      assert.closeTo((retry ?? 0) + (ago ?? 0), 20_000, 2)
      const own = rows(answer).find(({ dependency }) => dependency === "kafka")
      assert.deepOwnInclude(own ?? {}, { program: "cribwork", state: "closed", retry_after_ms: 0 })
      assert.deepInclude(answer.body, { next_cursor: null, forces: [] })
    }).pipe(Effect.provide(house()))
  )

  it.live("is for those who may see it", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* ask("/v1/breakers")).status, 401)
      const other = yield* newKey({ scopes: ["charges:read"] })
      const refused = yield* ask("/v1/breakers", { headers: other })
      assert.deepInclude(refused.body, { status: 403, scope: "ops:read" })
    }).pipe(Effect.provide(house()))
  )
})

describe("POST /v1/breakers/{name}/force", () => {
  it.live("orders, is obeyed, shows with every process, and is lifted", () =>
    Effect.gen(function* () {
      yield* (yield* Breakers).declare(Dependency.make("gateway", "http", { timeout: Duration.seconds(1) }))
      yield* elsewhere("gateway")
      const auth = yield* operator
      const until = yield* ahead("10 minutes")
      const order = { state: "open", reason: "they asked for quiet", until }
      const { body, status } = yield* force(auth, "gateway", order)
      assert.strictEqual(status, 200)
      assert.deepInclude(body, { dependency: "gateway", ...order })
      assert.match(String(body["by"]), /^[0-9a-f]{16}$/)

      const shown = yield* Effect.repeat(ask("/v1/breakers", { headers: auth }), {
        until: (answer) => rows(answer).some(isObeyed)
      })
      for (const row of ofGateway(shown)) assert.deepStrictEqual(row["force"], body)
      assert.lengthOf(ofGateway(shown), 2)
      assert.deepStrictEqual(shown.body["forces"], [body])

      const lifted = yield* force(auth, "gateway", { state: "auto", reason: "it is back" })
      assert.deepInclude(lifted.body, { dependency: "gateway", state: "auto", until: null })
      yield* Effect.repeat(ask("/v1/breakers", { headers: auth }), {
        until: (answer) => !rows(answer).some(isObeyed) && rows(answer).every((row) => row["force"] === null)
      })
      const entries = yield* (yield* AuditLog).list({ limit: 2 })
      assert.deepStrictEqual(
        entries.map(({ action, actor, subject, why }) => [action, actor, subject, why]),
        [
          ["breakers.lift", body["by"], "gateway", "it is back"],
          ["breakers.force", body["by"], "gateway", "they asked for quiet"]
        ]
      )
    }).pipe(Effect.provide(house()))
  )

  it.live("an order ends by itself, so it says when: in the future, and within a day", () =>
    Effect.gen(function* () {
      yield* elsewhere("gateway")
      const auth = yield* operator
      const soon = yield* ahead("1 minute")
      const wrongs: ReadonlyArray<readonly [Body & Record<string, unknown>, ReadonlyArray<string>]> = [
        [{ state: "open", reason: "x" }, ["/until"]],
        [{ state: "closed", reason: "x", until: yield* ahead("-1 seconds") }, ["/until"]],
        [{ state: "open", reason: "x", until: yield* ahead("86410 seconds") }, ["/until"]],
        [{ state: "open", reason: "x", until: "tomorrow" }, ["/until"]],
        [{ state: "open", reason: "x", until: "2026-02-31T25:00:00Z" }, ["/until"]],
        [{ state: "open", reason: "x", until: soon.slice(0, 19) }, ["/until"]],
        [{ state: "auto", reason: "x", until: soon }, ["/until"]],
        [{ state: "half-open", reason: "x", until: soon }, ["/state"]],
        [{ state: "open", reason: "", until: soon }, ["/reason"]],
        [{ state: "open", reason: "x".repeat(501), until: soon }, ["/reason"]],
        [{ state: "open", until: soon }, ["/reason"]],
        [{ state: "open", reason: "x", until: soon, untill: soon }, ["/untill"]]
      ]
      for (const [body, places] of wrongs) {
        const answer = yield* force(auth, "gateway", body)
        assert.deepStrictEqual([answer.status, wrong(answer)], [422, places], JSON.stringify(body))
      }
      assert.deepStrictEqual((yield* ask("/v1/breakers", { headers: auth })).body["forces"], [])
      const offset = `${soon.slice(0, 19)}+00:00`
      assert.strictEqual((yield* force(auth, "gateway", { state: "open", reason: "x", until: offset })).status, 200)
    }).pipe(Effect.provide(house()))
  )

  it.live("knows the breakers that processes tell of, and no other", () =>
    Effect.gen(function* () {
      const auth = yield* operator
      const order = { state: "open", reason: "x", until: yield* ahead("1 minute") }
      for (const body of [order, { state: "auto", reason: "x" }]) {
        const { body: problem, status } = yield* force(auth, "pps", body)
        assert.deepStrictEqual([status, problem["type"]], [404, "/problems/breaker-not-found"])
      }
      yield* elsewhere("gateway")
      assert.strictEqual((yield* force(auth, "gateway", order)).status, 200)
    }).pipe(Effect.provide(house()))
  )

  it.live("an order can be lifted when whoever told of its breaker is long forgotten", () =>
    Effect.gen(function* () {
      const auth = yield* operator
      const until = DateTime.addDuration(yield* DateTime.now, Duration.hours(1))
      yield* (yield* ForcedStates).force({ dependency: "old", to: "closed", reason: "x", by: "cli:ada", until })
      assert.strictEqual((yield* force(auth, "old", { state: "auto", reason: "x" })).status, 200)
      assert.deepStrictEqual((yield* ask("/v1/breakers", { headers: auth })).body["forces"], [])
    }).pipe(Effect.provide(house()))
  )

  it.live("is for operators", () =>
    Effect.gen(function* () {
      yield* elsewhere("gateway")
      const order = { state: "open", reason: "x", until: yield* ahead("1 minute") }
      assert.strictEqual((yield* force({}, "gateway", order)).status, 401)
      const refused = yield* force(yield* reader, "gateway", order)
      assert.deepInclude(refused.body, { status: 403, scope: "ops:admin" })
      assert.deepStrictEqual((yield* ask("/v1/breakers", { headers: yield* reader })).body["forces"], [])
    }).pipe(Effect.provide(house()))
  )
})
