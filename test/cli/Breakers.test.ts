/** `cribwork breakers` against the house itself: its API over HTTP, in memory, in this process. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createInterface } from "node:readline"

import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Logger, Option } from "effect"

import type { Scope } from "../../src/domain/access/ApiKey.ts"
import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { BreakerReports } from "../../src/domain/breakers/BreakerReports.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { lastingOf } from "../../src/programs/cli/Lasting.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { freshReporter, seen } from "../breakers/BreakerReports.suite.ts"
import { newKey, port } from "../http/Trial.ts"
import { cribwork, parsed, program } from "./Command.ts"

const house = Features.api.pipe(
  Layer.provideMerge(
    Layer.fresh(Layer.mergeAll(Readiness.layer, Memory.stack.limiter, Memory.stack.books, Memory.stack.provider))
  ),
  Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
  Layer.provideMerge(Settings.layer),
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
  Layer.provide(Logger.layer([]))
)

const environment = Effect.fnUntraced(function* (scopes: ReadonlyArray<Scope> = ["ops:read", "ops:admin"]) {
  const { authorization } = yield* newKey({ scopes, operator: true })
  return {
    CRIBWORK_URL: `http://127.0.0.1:${yield* port}`,
    CRIBWORK_API_KEY: authorization.replace("Bearer ", "")
  }
})

const declared = Effect.flatMap(Breakers, (breakers) =>
  breakers.declare(Dependency.make("gateway", "http", { timeout: Duration.seconds(1) }))
)

/** What a server says whose one breaker is in this state. */
const list = (state: string) =>
  JSON.stringify({
    data: [
      {
        dependency: "gateway",
        kind: "http",
        process: "host:1:0a",
        program: "worker",
        state,
        since_ms: 0,
        retry_after_ms: 0,
        in_flight: 0,
        failures_in_row: 0,
        failure_rate: null,
        slow_rate: null,
        admitted: 1,
        force: null,
        seen_ms_ago: 0
      }
    ],
    next_cursor: null,
    forces: []
  })

describe("cribwork breakers", () => {
  it.live("lists what processes tell, where to look first on top", () =>
    Effect.gen(function* () {
      const reporter = freshReporter()
      yield* (yield* BreakerReports).publish(reporter, [
        seen("redis"),
        seen("gateway", { state: "open", retryAfter: Duration.seconds(300), failuresInRow: 5, failureRate: 0.625 })
      ])
      const env = yield* environment()
      const { code, stderr, stdout } = yield* cribwork(["breakers", "list"], env)
      assert.deepStrictEqual([code, stderr], [0, ""])
      const [head, first, ...rest] = stdout.split("\n")
      assert.match(head ?? "", /^DEPENDENCY +STATE +FOR +RETRY IN .* ORDER +PROGRAM +PROCESS$/)
      const row = String.raw`^gateway +open +\d+s +4m \d+s +0 +5 +63 % +- +100 % +- +worker +`
      assert.match(first ?? "", new RegExp(`${row}${reporter.process}$`))
      assert.match(rest.join("\n"), /^redis +closed +\d+s +- +0 +0 +- +- +100 % +- +worker/m)
      const { data } = parsed((yield* cribwork(["breakers", "list", "--json"], env)).stdout)
      assert.deepInclude((data as ReadonlyArray<object>)[0], { dependency: "gateway", state: "open" })
    }).pipe(Effect.provide(house))
  )

  it.live("forces a breaker for a while and gives it back, and says what it could not do", () =>
    Effect.gen(function* () {
      yield* declared
      const env = yield* environment()
      const why = ["--reason", "they asked for quiet"]
      const forced = yield* cribwork(["breakers", "force", "gateway", "open", "--for", "10m", ...why], env)
      assert.strictEqual(forced.code, 0, forced.stderr)
      assert.match(forced.stdout, /^dependency +gateway\nordered +open\nuntil +\d{4}-\S+ \S+ UTC\nby +[0-9a-f]{16}\n$/)
      const listed = yield* cribwork(["breakers", "list"], env)
      assert.match(listed.stdout, /open until \S+ \S+ UTC by [0-9a-f]{16}/)
      const [entry] = yield* (yield* AuditLog).list({ limit: 1 })
      assert.deepInclude(entry, { action: "breakers.force", why: "they asked for quiet" })

      const lifted = yield* cribwork(["breakers", "force", "gateway", "auto", ...why, "--json"], env)
      assert.deepInclude(parsed(lifted.stdout), { dependency: "gateway", state: "auto", until: null })

      for (const args of [["closed"], ["auto", "--for", "1m"]]) {
        const asked = yield* cribwork(["breakers", "force", "gateway", ...args, ...why], env)
        assert.strictEqual(asked.code, 2)
        assert.include(asked.stderr, "For how long?")
      }
      const odd = yield* cribwork(["breakers", "force", "gateway", "open", "--for", "25h", ...why], env)
      assert.strictEqual(odd.code, 2)
      assert.include(odd.stderr, "up to 24h")
      assert.strictEqual((yield* cribwork(["breakers", "force", "gateway", "open", "--for", "1m"], env)).code, 2)
      const missing = yield* cribwork(["breakers", "force", "pps", "auto", ...why], env)
      assert.deepStrictEqual([missing.code, missing.stderr.split("\n")[0]], [3, "cribwork: No such breaker"])
      const reader = yield* environment(["ops:read"])
      assert.strictEqual((yield* cribwork(["breakers", "force", "gateway", "auto", ...why], reader)).code, 4)
    }).pipe(Effect.provide(house))
  )

  it.live("shows an order about what no living process has", () =>
    Effect.gen(function* () {
      const reporter = freshReporter()
      yield* (yield* BreakerReports).publish(reporter, [seen("old")])
      yield* (yield* BreakerReports).leave(reporter)
      const env = yield* environment()
      const order = ["breakers", "force", "old", "closed", "--for", "1h", "--reason", "x"]
      assert.strictEqual((yield* cribwork(order, env)).code, 0)
      const { stdout } = yield* cribwork(["breakers", "list"], env)
      assert.match(stdout, /^old is in no living process; ordered closed until /m)
    }).pipe(Effect.provide(house))
  )

  it.live("watches: the list, then a document for each change, until it is interrupted", () =>
    Effect.gen(function* () {
      yield* declared
      const env = yield* environment()
      const { PATH } = process.env
      const watching = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [program, "breakers", "watch", "--json"], {
            env: { PATH, ...env },
            stdio: ["ignore", "pipe", "inherit"]
          })
        ),
        (watching) => Effect.sync(() => watching.kill("SIGKILL"))
      )
      const ended = once(watching, "exit")
      const lines = createInterface(watching.stdout)[Symbol.asyncIterator]()
      const next = Effect.map(
        Effect.promise(() => lines.next()),
        ({ value }) => parsed(String(value))
      )
      assert.hasAllKeys(yield* next, ["data", "next_cursor", "forces"])
      yield* cribwork(["breakers", "force", "gateway", "open", "--for", "10m", "--reason", "quiet"], env)
      const told: Array<Record<string, unknown>> = []
      while (!told.some(({ to }) => to === "forced-open")) told.push(yield* next)
      assert.deepInclude(
        told.find(({ change }) => change === "ordered"),
        { dependency: "gateway", state: "open", reason: "quiet" }
      )
      assert.deepInclude(told.at(-1), { change: "state", dependency: "gateway", from: "closed", program: "cribwork" })
      watching.kill("SIGINT")
      assert.deepStrictEqual(yield* Effect.promise(() => ended), [130, null])
    }).pipe(Effect.scoped, Effect.provide(house))
  )

  it.live("goes on watching past a server that is away for a while, and says so once", () =>
    Effect.gen(function* () {
      const away = JSON.stringify({ type: "/problems/unavailable", status: 503, title: "Unavailable" })
      const script = [list("closed"), away, undefined, list("open")]
      const server = createServer((request, response) => {
        const answer = script.shift()
        if (answer === undefined) request.socket.destroy()
        else response.writeHead(answer === away ? 503 : 200, { "content-type": "application/json" }).end(answer)
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close().closeAllConnections()))
      yield* Effect.promise(() => once(server.listen(0, "127.0.0.1"), "listening"))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      const { PATH } = process.env
      const watching = spawn(process.execPath, [program, "breakers", "watch"], {
        env: { PATH, CRIBWORK_URL: url, CRIBWORK_API_KEY: "k" },
        stdio: ["ignore", "pipe", "pipe"]
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => watching.kill("SIGKILL")))
      let remarks = ""
      watching.stderr.on("data", (chunk: Buffer) => (remarks += chunk.toString()))
      const lines = createInterface(watching.stdout)[Symbol.asyncIterator]()
      for (let line = ""; !line.includes("closed -> open");) {
        const { done, value } = yield* Effect.promise(() => lines.next())
        if (done === true) assert.fail(`it ended: ${remarks}`)
        line = value
      }
      assert.lengthOf(remarks.match(/Asked again every 1s/g) ?? [], 1)
    }).pipe(Effect.scoped)
  )

  it.live("stops watching when nobody reads any more", () =>
    Effect.gen(function* () {
      yield* declared
      const watching = yield* Effect.acquireRelease(
        Effect.map(environment(), (env) =>
          spawn(process.execPath, [program, "breakers", "watch"], {
            env: { PATH: process.env["PATH"], ...env },
            stdio: ["ignore", "pipe", "inherit"]
          })
        ),
        (watching) => Effect.sync(() => watching.kill("SIGKILL"))
      )
      const ended = once(watching, "exit")
      yield* Effect.promise(() => once(watching.stdout, "data"))
      watching.stdout.destroy()
      yield* (yield* BreakerReports).publish(freshReporter(), [seen("redis")])
      assert.deepStrictEqual(yield* Effect.promise(() => ended), [0, null])
    }).pipe(Effect.scoped, Effect.provide(house))
  )
})

const millis = (text: string) => Option.getOrNull(Option.map(lastingOf(text), Duration.toMillis))

describe("--for", () => {
  it("takes seconds, minutes and hours, up to a day", () => {
    assert.deepStrictEqual(
      ["30s", "10m", "2h", "24h", "86400s"].map(millis),
      [30_000, 600_000, 7_200_000, 86_400_000, 86_400_000]
    )
    for (const text of ["", "0m", "10", "m", "10 m", "-1m", "1.5h", "1d", "25h", "86401s", "1h30m"])
      assert.isNull(millis(text))
  })
})
