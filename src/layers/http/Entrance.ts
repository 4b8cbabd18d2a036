import type { IncomingMessage } from "node:http"

/**
 * The one door: every request comes through here, known route or not, and every answer leaves with the
 * request's id. What the contract does not catch (an unknown route, a body too large, a defect, a route that
 * takes too long) becomes a problem here. All that a request does is done under its deadline.
 *
 * It is written for the request that succeeds, which pays for an id, a place among those in flight, two
 * metrics and a header: one frame, no generator, no span, no log annotation. Written naturally, with
 * `annotateLogs` and a timeout around every request, it cost three times as much.
 */
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Cause, Clock, Context, Effect, type Types } from "effect"
import { HttpRouter, HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"

import * as Problem from "../../domain/api/Problem.ts"
import * as Deadline from "../../domain/Deadline.ts"
import { CurrentOrigin } from "../platform/Origin.ts"
import type { Allowed } from "./Allowed.ts"
import type { Arrivals } from "./Arrivals.ts"
import { respond } from "./EdgeProblems.ts"
import * as HttpMetrics from "./HttpMetrics.ts"
import { type InFlight, isOverdue } from "./InFlight.ts"
import type { RequestBudget } from "./RequestBudget.ts"

type Answer = Effect.Effect<HttpServerResponse.HttpServerResponse>

export interface Options {
  readonly allowed: Allowed
  readonly arrivals: Arrivals
  readonly budget: RequestBudget
  readonly inFlight: InFlight
  readonly urlMax: number
  readonly isStopping: () => boolean
}

/** When to come back to a server that is full or stopping: by then another one may stand in its place. */
const comeBackMillis = 1000

/** Never read: the client has gone. The number is nginx's, for the metrics. */
const gone = HttpServerResponse.empty({ status: 499 })

const noDeadline = `The header ${Deadline.header} is not a whole number of milliseconds, an hour at most.`

/** Why a request is turned away before it is routed, if it is. */
const turnedAway = (
  source: IncomingMessage,
  budgetNanos: bigint | undefined,
  { inFlight, urlMax }: Options
): Problem.Problem | undefined => {
  const target = source.url ?? ""
  if (inFlight.isFull) return new Problem.Overloaded({ retry_after_ms: comeBackMillis, retryable: true })
  if (target.length > urlMax) return new Problem.UriTooLong({})
  if (target.includes("%00")) return new Problem.MalformedRequest({ detail: "The target holds a zero byte." })
  // RFC 9112, 3.2: refused here and not by Node, whose refusal has no body.
  if (source.headers.host === undefined && source.httpVersionMinor === 1) {
    return new Problem.MalformedRequest({ detail: "The Host header is missing." })
  }
  if (budgetNanos === undefined) return new Problem.MalformedRequest({ detail: noDeadline })
  if (budgetNanos === 0n) return unavailable("The caller had no time left.")
  return undefined
}

const noRoute = (request: HttpServerRequest.HttpServerRequest, allowed: Allowed): Answer => {
  const methods = allowed(request.url)
  if (methods.length === 0) return respond(new Problem.NotFound({}))
  const allow = { allow: methods.join(", ") }
  return request.method === "OPTIONS"
    ? Effect.succeed(HttpServerResponse.empty({ status: 204, headers: allow }))
    : Effect.map(respond(new Problem.MethodNotAllowed({})), HttpServerResponse.setHeaders(allow))
}

const serverError = (error: HttpServerError.HttpServerError, allowed: Allowed): Answer | undefined => {
  switch (error.reason._tag) {
    case "RouteNotFound":
      return noRoute(error.reason.request, allowed)
    case "RequestParseError":
      return respond(
        error.reason.reason === "BodyTooLarge" ? new Problem.PayloadTooLarge({}) : new Problem.MalformedRequest({})
      )
    default:
      return undefined
  }
}

const isClientAbort = (reason: Cause.Reason<unknown>) =>
  Cause.isInterruptReason(reason) && reason.annotations.has(HttpServerError.ClientAbort.key)

/** What a cause says to the client. Nothing of its text does: that is for the log. */
const failed = (cause: Cause.Cause<unknown>, allowed: Allowed): Answer => {
  for (const reason of cause.reasons) {
    const value = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (Problem.isProblem(value)) return respond(value)
    if (HttpServerResponse.isHttpServerResponse(value)) return Effect.succeed(value)
    const answer = HttpServerError.isHttpServerError(value) ? serverError(value, allowed) : undefined
    if (answer !== undefined) return answer
  }
  if (isOverdue(cause)) return respond(unavailable("The route took too long."))
  if (cause.reasons.some(isClientAbort)) return Effect.succeed(gone)
  if (Cause.hasInterruptsOnly(cause)) return respond(unavailable("The server is stopping."))
  return respond(Problem.because(new Problem.Internal({}), Cause.squash(cause)))
}

const unavailable = (detail: string) => new Problem.Unavailable({ detail, retry_after_ms: comeBackMillis })

/** `HttpApi` answers a media type it does not know with plain text, outside of the error channel. */
const isUnknownMediaType = (response: HttpServerResponse.HttpServerResponse) =>
  response.status === 415 && response.headers["content-type"]?.startsWith("text/plain") === true

export const layer = (options: Options) =>
  HttpRouter.middleware(
    (app): Effect.Effect<HttpServerResponse.HttpServerResponse, Types.unhandled, HttpServerRequest.HttpServerRequest> =>
      Effect.withFiber((fiber) => {
        const request = Context.getUnsafe(fiber.context, HttpServerRequest.HttpServerRequest)
        const source = NodeHttpServerRequest.toIncomingMessage(request) as IncomingMessage
        const clock = fiber.getRef(Clock.Clock)
        const origin = options.arrivals.next(source.headers)
        const budget = options.budget.of(source.headers)
        const refusal = turnedAway(source, budget, options)
        const flight = options.inFlight.enter(
          fiber,
          clock.monotonicTimeNanosUnsafe(),
          budget ?? options.budget.routeNanos
        )
        fiber.setContext(
          fiber.context.pipe(
            Context.add(CurrentOrigin, origin),
            Context.add(Deadline.CurrentDeadline, flight.deadlineNanos)
          )
        )

        const sent = (response: HttpServerResponse.HttpServerResponse) => {
          options.inFlight.leave(flight)
          const route = Context.getOrUndefined(fiber.context, HttpRouter.RouteContext)?.route.path ?? "unknown"
          HttpMetrics.answered(
            fiber.context,
            route,
            request.method,
            response.status,
            clock.monotonicTimeNanosUnsafe() - flight.startedNanos
          )
          const named = HttpServerResponse.setHeader(response, "x-request-id", origin.requestId)
          return options.isStopping() ? HttpServerResponse.setHeader(named, "connection", "close") : named
        }

        return Effect.matchCauseEffect(refusal === undefined ? app : respond(refusal), {
          onSuccess: (response) =>
            isUnknownMediaType(response)
              ? Effect.map(respond(new Problem.UnsupportedMediaType({})), sent)
              : Effect.succeed(sent(response)),
          onFailure: (cause) => Effect.map(failed(cause, options.allowed), sent)
        })
      }),
    { global: true }
  )
