/** What the systems may answer, and which problem each becomes. A failure without a row here does not compile. */
import { Duration } from "effect"

import type { UnknownKey } from "../access/ApiKeys.ts"
import type { AccessUnavailable } from "../access/AuditLog.ts"
import type { LimiterError } from "../limits/Limiter.ts"
import { because, InvalidRequest, type Problem, QuotaExceeded, Unauthenticated, Unavailable } from "./Problem.ts"

export type Failure = LimiterError["reason"] | UnknownKey | AccessUnavailable

/** How long a client waits before it asks again about something that does not answer. */
export const unavailableRetryMillis = 1000

const unavailable = (detail: string, failure: Failure) =>
  because(new Unavailable({ detail, retry_after_ms: unavailableRetryMillis }), failure)

const uncountable = (detail: string) => new InvalidRequest({ errors: [{ in: "body", pointer: "", detail }] })

const rows = {
  RateLimited: ({ retryAfter, violated }) =>
    new QuotaExceeded({ retry_after_ms: Math.ceil(Duration.toMillis(retryAfter)), violated_policies: violated }),
  CannotDecide: (failure) => unavailable("Quotas cannot be checked at the moment.", failure),
  CostAboveLimit: ({ cost, limit, policy }) =>
    uncountable(`This costs ${cost} units; policy ${policy} allows at most ${limit}.`),
  CostNotCountable: ({ cost }) => uncountable(`A cost of ${cost} is not a whole number of units.`),
  UnknownKey: () => new Unauthenticated({ detail: "No such API key, or it was revoked." }),
  AccessUnavailable: (failure) => unavailable("API keys cannot be checked at the moment.", failure)
} satisfies { readonly [F in Failure as F["_tag"]]: (failure: F) => Problem }

type Rows = typeof rows

/** The problem of one failure, as precisely as its row says, so that an endpoint can declare it. */
export const problemOf = <F extends Failure>(failure: F): ReturnType<Rows[F["_tag"]]> => {
  const row: (failure: never) => Problem = rows[failure._tag]
  return row(failure as never) as never
}
