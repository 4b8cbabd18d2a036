/**
 * A request pays before anything is done for it, and its answer says what is left: `RateLimit` and
 * `RateLimit-Policy` on success and on refusal alike.
 */
import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"

import { problemOf } from "../../domain/api/Failure.ts"
import { isProblem, type QuotaExceeded, withHeaders } from "../../domain/api/Problem.ts"
import * as RateLimitFields from "../../domain/api/RateLimitFields.ts"
import type { Ask, Grant, Limiter, LimiterError } from "../../domain/limits/Limiter.ts"

/** What a caller pays on a route, and how its policies are told; made once for as long as both are known. */
export interface Toll {
  readonly ask: Ask
  readonly policies: string
}

export const tollOf = (ask: Ask): Toll => ({
  ask,
  policies: RateLimitFields.policyField(ask.keys.map(({ policy }) => policy))
})

type Away = ReturnType<typeof problemOf<Extract<LimiterError["reason"], { readonly _tag: "CannotDecide" }>>>

/** A cost of one is always countable and below every limit, so that only two answers are possible. */
const refused = ({ reason }: LimiterError, { policies }: Toll): Effect.Effect<never, Away | QuotaExceeded> => {
  if (reason._tag === "CannotDecide") return Effect.fail(problemOf(reason))
  if (reason._tag !== "RateLimited") return Effect.die(reason)
  const ratelimit = RateLimitFields.refusedField(reason.violated, reason.retryAfter)
  return Effect.fail(withHeaders(problemOf(reason), { "ratelimit-policy": policies, ratelimit }))
}

const left = ({ policies }: Toll, quotas: Grant["quotas"]) => ({
  "ratelimit-policy": policies,
  ratelimit: RateLimitFields.limitField(quotas)
})

/** Takes the toll, and then runs the route. */
export const paid = <E, R>(
  limiter: Limiter["Service"],
  toll: Toll,
  route: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E | Away | QuotaExceeded, R> =>
  Effect.matchEffect(limiter.take(toll.ask), {
    onFailure: (error) => refused(error, toll),
    onSuccess: ({ quotas }: Grant) =>
      Effect.mapBoth(route, {
        onSuccess: (response) => HttpServerResponse.setHeaders(response, left(toll, quotas)),
        onFailure: (error) => (isProblem(error) ? withHeaders(error, left(toll, quotas)) : error)
      })
  })
