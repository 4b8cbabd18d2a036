/**
 * A `Psp` over HTTP, one connection pool of its own and no retries. Whether a failure proves that nothing was
 * executed is not read from error codes: the pool reports the moment it starts to write a request, and until
 * then nothing left (`NotSent`), from then on anything may have happened (`Unknown`). So a reset on a kept-alive
 * connection is `Unknown`, however likely it is that the provider never saw the request.
 */
import { NodeHttpClient } from "@effect/platform-node"
import type * as Undici from "@effect/platform-node/Undici"
import { Clock, Context, Duration, Effect, Layer, Metric, Option, Redacted, Result, Schema } from "effect"
import { Headers, HttpClient, HttpClientRequest, HttpTraceContext } from "effect/http"

import { NotSent, Psp, PspError, Unknown } from "../../domain/payments/Psp.ts"
import type { Capture, Captured } from "../../domain/payments/Psp.ts"
import { classOf, judge } from "../../domain/payments/PspVerdict.ts"
import { retryAfterOf } from "../platform/RetryAfter.ts"
import { Settings } from "../platform/Settings.ts"
import * as PspAnswer from "./PspAnswer.ts"

/** Where the provider is; a path in it is kept in front of ours. */
export class PspUrl extends Context.Service<PspUrl, Redacted.Redacted>()("cribwork/payments/HttpPsp/PspUrl") {}

export interface Options {
  readonly url: Redacted.Redacted
  readonly apiKey: Option.Option<Redacted.Redacted>
  /** Of one call, from waiting for a connection to the last byte of the answer. */
  readonly timeout: Duration.Duration
  /** Calls in flight at once; more wait for a connection, within their timeout. */
  readonly connections: number
}

/** An answer is a few hundred bytes; what is larger is not from a provider we know. */
const answerMax = 65_536

const encodeBody = Schema.encodeEffect(
  Schema.fromJsonString(
    Schema.Struct({
      amount: Schema.Int,
      currency: Schema.String,
      source: Schema.String,
      description: Schema.optionalKey(Schema.String),
      reference: Schema.String
    })
  )
)

const make = (options: Options) =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const base = Redacted.value(options.url).replace(/\/+$/, "")

    const exchange = Effect.fnUntraced(function* (request: HttpClientRequest.HttpClientRequest) {
      const departure = { left: false }
      // Travels with the request to where the pool sees it, `noteDeparture`.
      const carried = { idempotent: false, departure }
      return yield* Option.match(options.apiKey, {
        onNone: () => request,
        onSome: (key) => HttpClientRequest.bearerToken(request, key)
      }).pipe(
        client.execute,
        Effect.flatMap((response) => Effect.map(response.text, (text) => ({ response, text }))),
        Effect.provideService(NodeHttpClient.UndiciOptions, carried),
        Effect.timeoutOrElse({
          duration: options.timeout,
          orElse: () => Effect.fail({ message: `no answer in ${Duration.format(options.timeout)}` })
        }),
        Effect.mapError((failure) =>
          departure.left
            ? new Unknown({ evidence: `the request left, then: ${inShort(failure)}` })
            : new NotSent({ cause: inShort(failure) })
        ),
        Effect.flatMap(({ response, text }) =>
          Effect.map(Clock.currentTimeMillis, (now) => ({
            status: response.status,
            retryAfter: retryAfterOf(response.headers["retry-after"], now),
            text
          }))
        )
      )
    })

    const capture = Effect.fnUntraced(
      function* (command: Capture) {
        const { pspKey, amount, currency, source, description } = command
        const about = description === undefined ? {} : { description }
        const body = yield* Effect.orDie(encodeBody({ amount, currency, source, ...about, reference: pspKey }))
        const answer = yield* exchange(
          HttpClientRequest.post(`${base}/payments`, { headers: { "idempotency-key": pspKey } }).pipe(
            HttpClientRequest.bodyText(body, "application/json")
          )
        )
        const verdict = PspAnswer.ofCapture(answer)
        const judged = verdict._tag === "Captured" ? judge(command, verdict) : verdict
        if (judged._tag !== "Captured") return yield* judged
        return judged
      },
      (effect, { traceparent }) =>
        effect.pipe(
          measured("capture", (captured: Captured) => classOf(captured)),
          Effect.mapError(told),
          Effect.withSpan("Psp.capture"),
          under(traceparent)
        )
    )

    const lookup = Effect.fn("Psp.lookup")(
      function* (pspKey: string) {
        const request = HttpClientRequest.get(`${base}/payments`, { urlParams: { psp_key: pspKey } })
        return yield* Effect.fromResult(PspAnswer.ofLookup(yield* exchange(request), pspKey))
      },
      (effect) =>
        effect.pipe(
          measured("lookup", (found) => (Option.isSome(found) ? classOf(found.value) : "none")),
          Effect.mapError(told)
        )
    )

    const source = Effect.fn("Psp.source")(
      function* (token: string) {
        const request = HttpClientRequest.get(`${base}/sources/${encodeURIComponent(token)}`)
        return yield* Effect.fromResult(PspAnswer.ofSource(yield* exchange(request), token))
      },
      (effect) =>
        effect.pipe(
          // Its span would keep the path, and who reads a token may charge it.
          Effect.provideService(HttpClient.TracerDisabledWhen, () => true),
          measured("source", (found) => (Option.isSome(found) ? "found" : "none")),
          Effect.mapError(told)
        )
    )

    return Psp.of({ capture, lookup, source })
  })

/** An undici client of our own: HTTP/1.1 without pipelining, where a request starts once and is never repeated. */
const pool = (connections: number) =>
  NodeHttpClient.layerUndiciNoDispatcher.pipe(
    Layer.provide(
      Layer.effect(
        NodeHttpClient.Dispatcher,
        Effect.map(
          NodeHttpClient.makeDispatcherOptions({
            allowH2: false,
            pipelining: 1,
            connections,
            maxResponseSize: answerMax
          }),
          (agent) => agent.compose(noteDeparture)
        )
      )
    )
  )

export const layerWith = (options: Options): Layer.Layer<Psp> =>
  Layer.effect(Psp, make(options)).pipe(Layer.provide(pool(options.connections)))

export const layer: Layer.Layer<Psp, never, PspUrl | Settings> = Layer.unwrap(
  Effect.gen(function* () {
    const { pspKey, pspTimeout, pspConcurrency } = yield* Settings
    return layerWith({ url: yield* PspUrl, apiKey: pspKey, timeout: pspTimeout, connections: pspConcurrency })
  })
)

/** Sets `left` in the moment in which a request starts to be written to a connection that stands. */
const noteDeparture: Undici.Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
  const { departure } = options as { readonly departure?: { left: boolean } }
  return dispatch(options, {
    onRequestStart: (controller, context) => {
      if (departure !== undefined) departure.left = true
      handler.onRequestStart?.(controller, context)
    },
    onRequestUpgrade: (...told) => handler.onRequestUpgrade?.(...told),
    onResponseStart: (...told) => handler.onResponseStart?.(...told),
    onResponseData: (...told) => handler.onResponseData?.(...told),
    onResponseEnd: (...told) => handler.onResponseEnd?.(...told),
    onResponseError: (...told) => handler.onResponseError?.(...told)
  })
}

const calls = Metric.counter("cribwork_payments_psp_calls_total", {
  description: "Calls to the payment provider by what they came to.",
  incremental: true
})
const seconds = Metric.histogram("cribwork_payments_psp_call_seconds", {
  description: "How long calls to the payment provider take.",
  boundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
})

const measured =
  <A>(operation: string, outcomeOf: (success: A) => string) =>
  <E extends PspError["reason"], R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Effect.timed(Effect.result(effect)), ([took, result]) => {
      const outcome = Result.isSuccess(result) ? outcomeOf(result.success) : classOf(result.failure)
      return Metric.update(Metric.withAttributes(calls, { operation, class: outcome }), 1).pipe(
        Effect.andThen(Metric.update(Metric.withAttributes(seconds, { operation }), Duration.toSeconds(took))),
        Effect.andThen(Effect.fromResult(result))
      )
    })

const told = (reason: PspError["reason"]) => new PspError({ reason })

/** The trace of the request that asked for the money, unless the caller already runs inside it. */
const under =
  (traceparent: string | undefined) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const parent = traceparent === undefined ? Option.none() : HttpTraceContext.w3c(Headers.fromInput({ traceparent }))
    if (Option.isNone(parent)) return effect
    return Effect.flatMap(Effect.option(Effect.currentParentSpan), (current) =>
      Option.isSome(current) && current.value.traceId === parent.value.traceId
        ? effect
        : Effect.withParentSpan(effect, parent.value)
    )
  }

/** What went wrong in a few words, as evidence: never a header or a body of ours. */
const inShort = (failure: { readonly message: string; readonly cause?: unknown }): string => {
  const { cause } = failure
  const words = cause instanceof Error ? `${"code" in cause ? `${cause.code} ` : ""}${cause.message}` : failure.message
  return words.slice(0, 200)
}
