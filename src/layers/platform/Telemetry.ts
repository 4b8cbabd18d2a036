/**
 * Logs, and traces and metrics over OTLP when its standard variables are set. A log line is one JSON object
 * with the ids of the trace, the span and the request it belongs to, and the whole cause of a failure with
 * its stack; in a terminal it is for reading. `Logger.consoleJson` has none of these ids and loses the stack
 * of an error that is logged as a message. Without OTLP no span is made, so that none has to be paid for.
 */
import { Cause, ConfigProvider, Effect, Formatter, Layer, Logger, Redactable, References } from "effect"
import type { Fiber, LogLevel } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp, OtlpSerialization } from "effect/observability"

import { CurrentOrigin } from "./Origin.ts"
import { Settings } from "./Settings.ts"

/** The ids of the recorded span if there is one, else of the request's own trace. */
const ids = (fiber: Fiber.Fiber<unknown, unknown>) => {
  const origin = fiber.getRef(CurrentOrigin)
  const trace = fiber.cache.span ?? origin
  return {
    ...(trace === undefined ? {} : { trace_id: trace.traceId, span_id: trace.spanId }),
    ...(origin?.requestId === undefined ? {} : { request_id: origin.requestId })
  }
}

const isFailure = (part: unknown): part is Cause.Cause<unknown> | Error => Cause.isCause(part) || part instanceof Error
const stackOf = (failure: Cause.Cause<unknown> | Error) =>
  Cause.pretty(Cause.isCause(failure) ? failure : Cause.die(failure))

interface Line extends Readonly<Record<string, unknown>> {
  readonly time: string
  readonly level: string
  readonly message: unknown
  readonly cause?: string
}

const line = (program: string): Logger.Logger<unknown, Line> =>
  Logger.make(({ cause, date, fiber, logLevel, message }) => {
    const parts = Array.isArray(message) ? message : [message]
    const said = parts.filter((part) => !isFailure(part))
    const failures = [...parts.filter(isFailure), ...(cause.reasons.length > 0 ? [cause] : [])].map(stackOf)
    return {
      time: date.toISOString(),
      level: logLevel.toLowerCase(),
      program,
      message: said.length === 1 ? said[0] : said,
      ...ids(fiber),
      ...fiber.getRef(References.CurrentLogAnnotations),
      ...(failures.length === 0 ? {} : { cause: failures.join("\n") })
    }
  })

const text = (value: unknown) => (typeof value === "string" ? value : Formatter.formatJson(value))

/** For machines: whoever reads a terminal knows the program, and no trace by heart. */
const quiet = new Set(["program", "trace_id", "span_id"])

/** `12:00:01.250 ERROR What happened  key=value`, and the cause below it. */
const readable = ({ time, level, message, cause, ...rest }: Line): string => {
  const said = (Array.isArray(message) ? message : [message]).map((part) => text(Redactable.redact(part)))
  const members = Object.entries(rest)
    .filter(([key]) => !quiet.has(key))
    .map(([key, value]) => `${key}=${text(Redactable.redact(value))}`)
  const head = [`${time.slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${said.join(" ")}`, ...members].join("  ")
  return cause === undefined ? head : `${head}\n    ${cause.replaceAll("\n", "\n    ")}`
}

const levels = { debug: "Debug", info: "Info", warn: "Warn", error: "Error" } as const satisfies Record<
  string,
  LogLevel.LogLevel
>

/** The loggers alone; `pretty` for people, else JSON for machines. */
export const logger = (program: string, pretty: boolean): Logger.Logger<unknown, void> =>
  Logger.withConsoleLog(
    pretty ? Logger.map(line(program), readable) : Logger.map(line(program), (one) => Formatter.formatJson(one))
  )

/** OpenTelemetry's own defaults: an endpoint is enough to export everything. Effect wants each signal named. */
const exporters = ConfigProvider.layerAdd(
  ConfigProvider.fromUnknown({
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_METRICS_EXPORTER: "otlp",
    OTEL_LOGS_EXPORTER: "otlp"
  })
)

/** `program` names the process in each line and as an attribute of its OTLP resource. */
export const layer = (program: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const settings = yield* Settings
      const pretty = settings.logFormat === "auto" ? process.stdout.isTTY : settings.logFormat === "pretty"
      // In this order: a `Logger.layer` merged beside OTLP would drop its log exporter.
      return Otlp.layerFromConfig({
        resource: { serviceName: settings.service, attributes: { program } },
        loggerMergeWithExisting: true
      }).pipe(
        Layer.provide([FetchHttpClient.layer, OtlpSerialization.layerJson, exporters]),
        Layer.provideMerge(
          Layer.mergeAll(
            Logger.layer([logger(program, pretty), Logger.tracerLogger]),
            Layer.succeed(References.MinimumLogLevel, levels[settings.logLevel])
          )
        )
      )
    })
  )
