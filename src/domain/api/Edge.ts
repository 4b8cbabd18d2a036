/**
 * What stands between the network and every route, as the contract knows it: which problems it may answer
 * and what it gives the handlers. How it works is in `layers/http`.
 */
import { Context } from "effect"
import { HttpApiMiddleware } from "effect/http-api"

import type { Caller, Scope } from "../access/ApiKey.ts"
import * as Problem from "./Problem.ts"

/** What a breaker may say in place of a dependency: on every route, since every route asks one. */
const dependencies = [Problem.DependencyUnavailable, Problem.DeadlineTooShort, Problem.DependencyTimeout] as const

/** On every route: turns whatever a handler fails with into a problem. Outermost, so that it sees all others. */
export class Edge extends HttpApiMiddleware.Service<Edge>()("cribwork/api/Edge", {
  error: [
    Problem.MalformedRequest,
    Problem.UriTooLong,
    Problem.ExpectationFailed,
    Problem.HeadersTooLarge,
    Problem.Internal,
    Problem.Unavailable,
    ...dependencies,
    Problem.Overloaded
  ]
}) {}

/** On every route that takes a JSON body: what can be wrong with one before its schema is asked. */
export class Bodied extends HttpApiMiddleware.Service<Bodied>()("cribwork/api/Bodied", {
  error: [Problem.MalformedJson, Problem.RequestTimeout, Problem.PayloadTooLarge, Problem.UnsupportedMediaType]
}) {}

/** Who asks: handlers of routes behind `Authenticated` may read it. */
export class CurrentCaller extends Context.Service<CurrentCaller, Caller>()("cribwork/api/Edge/CurrentCaller") {}

/** The scope that an endpoint needs, as its annotation. Without one a good key is enough. */
export const NeededScope = Context.Reference<Scope | undefined>("cribwork/api/NeededScope", {
  defaultValue: () => undefined
})

/** Routes for which an API key is needed: checks it, its scope, and the quotas of its plan. */
export class Authenticated extends HttpApiMiddleware.Service<Authenticated, { provides: CurrentCaller }>()(
  "cribwork/api/Authenticated",
  { error: [Problem.Unauthenticated, Problem.Forbidden, Problem.QuotaExceeded, Problem.Unavailable, ...dependencies] }
) {}

/** Routes for anybody: a quota by address is all that stands before them. */
export class Metered extends HttpApiMiddleware.Service<Metered>()("cribwork/api/Metered", {
  error: [Problem.QuotaExceeded, Problem.Unavailable, ...dependencies]
}) {}

/** Which problem a request of an endpoint becomes when its schema refuses it. */
export const InvalidAs = Context.Reference<"invalid-request" | "invalid-charge">("cribwork/api/InvalidAs", {
  defaultValue: () => "invalid-request"
})

/** Parameters of an endpoint's path that nobody but its two ends may read: they stand in no span, by whatever name. */
export const SecretParams = Context.Reference<ReadonlyArray<string>>("cribwork/api/SecretParams", {
  defaultValue: () => []
})
