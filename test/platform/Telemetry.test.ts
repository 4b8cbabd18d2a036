import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Console, Effect, Layer, Logger } from "effect"

import { continueFrom, traceparent } from "../../src/layers/platform/Origin.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Telemetry from "../../src/layers/platform/Telemetry.ts"
import { ask, loud, server } from "../http/Trial.ts"

/** A console that only remembers. */
const remembering = (lines: Array<string>): Console.Console => ({
  ...globalThis.console,
  log: (...parts: ReadonlyArray<unknown>) => void lines.push(parts.join(" "))
})

const written = (lines: Array<string>, pretty = false) =>
  Layer.mergeAll(Logger.layer([Telemetry.logger("test", pretty)]), Layer.succeed(Console.Console, remembering(lines)))

const parsed = (line: string | undefined) => JSON.parse(line ?? "null") as Record<string, unknown>

const given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/** What a route of the trial api would send along with a call of its own. */
const forwarded = (headers: Record<string, string>) => Effect.map(ask("/trace", { headers }), ({ text }) => text)

interface Exported {
  readonly path: string
  readonly text: string
}

/** Stands in for an OTLP collector, and remembers what it was sent. */
const collector = (exported: Array<Exported>) =>
  Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer((request, response) => {
        let text = ""
        request.on("data", (chunk) => (text += chunk))
        request.on("end", () => {
          exported.push({ path: request.url ?? "", text })
          response.end("{}")
        })
      }).listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

const configured = (environment: Record<string, string>) =>
  ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0", ...environment }))

/** Serves one request with telemetry as a program has it, to the end of both. */
const observed = (environment: Record<string, string>, lines: Array<string>) =>
  Effect.provide(
    Effect.all([ask("/boom", { headers: { traceparent: given } }), ask("/trace", { headers: { traceparent: given } })]),
    loud().pipe(
      Layer.provideMerge(Telemetry.layer("test")),
      Layer.provide(Settings.layer),
      Layer.provide([configured(environment), Layer.succeed(Console.Console, remembering(lines))])
    )
  )

describe("Telemetry", () => {
  it.live("exports the span of a request as a child of the caller's, and its log with it", () => {
    const exported: Array<Exported> = []
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const { port } = (yield* collector(exported)).address() as AddressInfo
      const [, trace] = yield* observed({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` }, lines)
      assert.match(trace.text, /^"00-4bf92f3577b34da6a3ce929d0e0e4736-(?!00f067aa0ba902b7)[0-9a-f]{16}-01"$/)
      const spans = exported
        .filter(({ path }) => path === "/v1/traces")
        .map(({ text }) => text)
        .join("")
      assert.include(spans, `"traceId":"4bf92f3577b34da6a3ce929d0e0e4736"`)
      assert.include(spans, `"parentSpanId":"00f067aa0ba902b7"`)
      assert.include(exported.find(({ path }) => path === "/v1/logs")?.text ?? "", "request failed")
      assert.strictEqual(
        parsed(lines.find((one) => one.includes("hunter2")))["trace_id"],
        "4bf92f3577b34da6a3ce929d0e0e4736"
      )
    }).pipe(Effect.scoped)
  })

  it.live("makes no span when nobody wants it, and writes at the level it was told", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      const [, trace] = yield* observed({ LOG_LEVEL: "error", LOG_FORMAT: "json" }, lines)
      assert.strictEqual(trace.text, `"${given}"`)
      assert.strictEqual(lines.length, 1)
      yield* observed({ LOG_FORMAT: "pretty" }, lines)
      assert.match(lines[1] ?? "", /^\d\d:\d\d:\d\d\.\d{3} ERROR request failed {2}request_id=/)
    })
  })

  it.effect("writes one line of JSON with what was said, the annotations and the whole cause", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      yield* Effect.logWarning("disk", 7).pipe(Effect.annotateLogs("shard", 3))
      yield* Effect.logError("broken", Cause.fail(new Error("outer", { cause: new Error("inner") })))
      yield* Effect.logError(new Error("alone"))
      assert.strictEqual(lines.length, 3)
      assert.deepInclude(parsed(lines[0]), { level: "warn", program: "test", message: ["disk", 7], shard: 3 })
      const broken = parsed(lines[1])
      assert.strictEqual(broken["message"], "broken")
      assert.match(String(broken["cause"]), /outer[\s\S]+Telemetry\.test\.ts[\s\S]+inner/)
      assert.match(String(parsed(lines[2])["cause"]), /alone[\s\S]+Telemetry\.test\.ts/)
    }).pipe(Effect.provide(written(lines)))
  })

  it.effect("is for reading in a terminal", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      yield* Effect.logError("broken", new Error("why")).pipe(Effect.annotateLogs("shard", 3))
      assert.match(lines[0] ?? "", /^\d\d:\d\d:\d\d\.\d{3} ERROR broken {2}shard=3\n {4}Error: why\n/)
    }).pipe(Effect.provide(written(lines, true)))
  })

  it.live("names the request and its trace in every line that is written for it", () => {
    const lines: Array<string> = []
    return Effect.gen(function* () {
      yield* ask("/boom", { headers: { "x-request-id": "r-1", traceparent: given } })
      const line = parsed(lines.find((one) => one.includes("hunter2")))
      assert.deepInclude(line, {
        level: "error",
        problem: "internal",
        route: "/boom",
        request_id: "r-1",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        span_id: "00f067aa0ba902b7"
      })
    }).pipe(Effect.provide(loud().pipe(Layer.provideMerge(written(lines)))))
  })

  it.live("forwards the caller's trace, and begins one where the caller's is missing or senseless", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* forwarded({ traceparent: given }), `"${given}"`)
      const own = [
        yield* forwarded({}),
        yield* forwarded({}),
        yield* forwarded({ traceparent: given.replace("4bf9", "ZZZZ") })
      ]
      for (const one of own) assert.match(one, /^"00-[0-9a-f]{32}-[0-9a-f]{16}-00"$/)
      assert.strictEqual(new Set(own).size, 3)
    }).pipe(Effect.provide(server()))
  )

  it.effect("continues a trace that came with a message, and a recorded span before all", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* traceparent)
      assert.strictEqual(yield* continueFrom(given)(traceparent), given)
      const spanned = yield* traceparent.pipe(Effect.withSpan("work"), continueFrom(given))
      assert.match(String(spanned), /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/)
      assert.notStrictEqual(spanned, given)
    })
  )
})
