/**
 * The `Edge` middleware: a failure that a route declares, or a request that its schema refuses, becomes a
 * response here, where both are still values. What escapes the contract is `Entrance`'s affair.
 */
import { Cause, Context, Effect, Layer, SchemaIssue } from "effect"
import type { HttpServerResponse } from "effect/http"
import { HttpRouter, HttpServerRequest } from "effect/http"
import { HttpApiError } from "effect/http-api"

import { blamed } from "../../domain/api/Culprit.ts"
import { Bodied, Edge, InvalidAs } from "../../domain/api/Edge.ts"
import {
  because,
  Internal,
  InvalidCharge,
  InvalidRequest,
  isProblem,
  MalformedJson,
  NotFound,
  Unavailable
} from "../../domain/api/Problem.ts"
import type { Problem } from "../../domain/api/Problem.ts"
import type { FieldError, ProblemName } from "../../domain/api/ProblemTable.ts"
import { FailedThrough } from "../../domain/breakers/Breaker.ts"
import { CurrentOrigin } from "../platform/Origin.ts"
import { toResponse } from "./ProblemResponse.ts"

const issues = SchemaIssue.makeFormatterStandardSchemaV1()

const places = { Query: "query", Headers: "header", Payload: "body" } as const

/** RFC 6901: `~` and `/` inside a name are escaped. */
const pointer = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> = []): string =>
  path
    .map((segment) => String(typeof segment === "object" ? segment.key : segment))
    .map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("")

/** Most places that one answer names: a body of ten thousand mistakes gets no answer of a megabyte. */
const errorsMax = 32

const fieldErrors = (error: HttpApiError.HttpApiSchemaError, at: FieldError["in"]) => {
  const errors = issues(error.cause.issue)
    .issues.slice(0, errorsMax)
    .map((issue) => ({ in: at, pointer: pointer(issue.path), detail: issue.message }))
  return errors as unknown as readonly [FieldError, ...Array<FieldError>]
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Why the schema refused it. The body was read already, so that looking at it again costs nothing. */
const refused = (
  error: HttpApiError.HttpApiSchemaError,
  as: "invalid-request" | "invalid-charge"
): Effect.Effect<Problem, never, HttpServerRequest.HttpServerRequest> => {
  if (error.kind === "Body" || error.kind === "ResponseHeaders") {
    return Effect.succeed(because(new Internal({}), error.cause))
  }
  // A path whose parameter cannot be one is the path of nothing.
  if (error.kind === "Params") return Effect.succeed(new NotFound({}))
  const errors = fieldErrors(error, places[error.kind])
  const invalid = () => (as === "invalid-charge" ? new InvalidCharge({ errors }) : new InvalidRequest({ errors }))
  if (error.kind !== "Payload") return Effect.succeed(invalid())
  return HttpServerRequest.HttpServerRequest.pipe(
    Effect.flatMap((request) => request.text),
    Effect.orElseSucceed(() => ""),
    Effect.map((text) =>
      isJson(text) ? invalid() : new MalformedJson(text === "" ? { detail: "The body is empty." } : {})
    )
  )
}

/** Answers of ours that say how we are, and are no failure: nobody should be woken for them. */
const expected = new Set<ProblemName>(["overloaded", "not-ready"])

/** What did not say itself who is behind it, but came through a dependency on its way here. */
const named = (problem: Problem, cause: Cause.Cause<unknown>): Problem => {
  if (!(problem instanceof Unavailable)) return problem
  const path = Context.getOrUndefined(Cause.annotations(cause), FailedThrough)
  return path === undefined ? problem : blamed(problem, path)
}

/** A failure of ours is logged with what lies behind it; one of the client's is its own affair. */
export const respond = (problem: Problem): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.withFiber((fiber) => {
    const response = Effect.sync(() => toResponse(problem, fiber.getRef(CurrentOrigin)?.requestId ?? ""))
    return problem.status < 500 || expected.has(problem._tag)
      ? response
      : Effect.andThen(
          Effect.annotateLogs(Effect.logError("request failed", Cause.fail(problem)), {
            problem: problem._tag,
            route: Context.getOrUndefined(fiber.context, HttpRouter.RouteContext)?.route.path
          }),
          response
        )
  })

const edge = Layer.succeed(Edge, (app, { endpoint }) => {
  const as = Context.get(endpoint.annotations, InvalidAs)
  return app.pipe(
    Effect.catchCauseIf(Cause.hasFails, (cause) => {
      const error = cause.reasons.find(Cause.isFailReason)?.error
      if (HttpApiError.HttpApiSchemaError.is(error)) return Effect.flatMap(refused(error, as), respond)
      return isProblem(error) ? respond(named(error, cause)) : Effect.failCause(cause)
    })
  )
})

/** Its problems are found by the router and by schemas; on a route it only stands for them. */
const bodied = Layer.succeed(Bodied, (app) => app)

export const layer = Layer.mergeAll(edge, bodied)
