/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): lists of structured fields, an
 * item a policy. A policy's name is a string that needs no escape.
 */
import { Duration } from "effect"

import type { Quota } from "../limits/Limiter.ts"
import type { Policy, PolicyName } from "../limits/Policy.ts"

/** A window that is not whole seconds has no `w`: the draft knows nothing finer, and a wrong one misleads. */
export const policyField = (policies: ReadonlyArray<Policy>): string =>
  policies
    .map(({ limit, name, window }) => {
      const seconds = Duration.toSeconds(window)
      return `"${name}";q=${limit}${Number.isInteger(seconds) ? `;w=${seconds}` : ""}`
    })
    .join(", ")

/** What is left of each, and the whole seconds, rounded up, until more of it can be. */
export const limitField = (quotas: ReadonlyArray<Quota>): string => {
  let field = ""
  for (const { policy, remaining, resetAfter } of quotas) {
    if (field !== "") field += ", "
    field += item(policy.name, remaining, resetAfter)
  }
  return field
}

/** Of a refusal: the policies without room. When the others have how much is not known then. */
export const refusedField = (violated: ReadonlyArray<PolicyName>, retryAfter: Duration.Duration): string =>
  violated.map((name) => item(name, 0, retryAfter)).join(", ")

const item = (name: string, remaining: number, wait: Duration.Duration): string =>
  `"${name}";r=${remaining};t=${Math.ceil(Duration.toMillis(wait) / 1000)}`
