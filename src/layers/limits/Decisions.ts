/**
 * Counts what limiters decide: by verdict and source, and refusals also by policy; never by tenant or user,
 * whose number has no end. Series are updated in place, since this runs once a request.
 */
import { Metric } from "effect"
import type { Context, Exit } from "effect"

import type { Grant, LimiterError, Source } from "../../domain/limits/Limiter.ts"

const decided = (verdict: string, source: string) =>
  Metric.counter("cribwork_limits_decisions_total", {
    description: "Asks decided, by verdict and by who decided.",
    incremental: true,
    attributes: { verdict, source }
  })

const admitted: { readonly [S in Source]: Metric.Metric<number, unknown> } = {
  memory: decided("admitted", "memory"),
  redis: decided("admitted", "redis"),
  shadow: decided("admitted", "shadow"),
  "denied-cache": decided("admitted", "denied-cache"),
  lease: decided("admitted", "lease")
}

const denied: { readonly [S in Source]: Metric.Metric<number, unknown> } = {
  memory: decided("denied", "memory"),
  redis: decided("denied", "redis"),
  shadow: decided("denied", "shadow"),
  "denied-cache": decided("denied", "denied-cache"),
  lease: decided("denied", "lease")
}

/** Nobody knew, and the policy forbids guessing. */
const undecided = decided("undecided", "shadow")

/** Decisions that a Redis was told after it was away or had forgotten them. */
export const restored = Metric.counter("cribwork_limits_restored_decisions_total", {
  description: "Decisions, by key, that Redis was told after it was away or had lost them.",
  incremental: true
})

/** What this process remembers for the time when Redis is away. */
export const shadowKeys = Metric.gauge("cribwork_limits_shadow_keys", {
  description: "Keys in the shadow that decides while Redis is away."
})

/** One series a policy, made when it first refuses; policies are named in the program, so these are few. */
const refusals = new Map<string, Metric.Metric<number, unknown>>()

const refused = (policy: string): Metric.Metric<number, unknown> => {
  const known = refusals.get(policy)
  if (known !== undefined) return known
  const series = Metric.counter("cribwork_limits_refusals_total", {
    description: "Refusals, by a policy that had no room.",
    incremental: true,
    attributes: { policy }
  })
  refusals.set(policy, series)
  return series
}

/** A peek that finds room is no decision; one that finds none turned somebody away. */
export const count = (
  decision: Exit.Exit<Grant, LimiterError>,
  peeked: boolean,
  context: Context.Context<never>
): void => {
  if (decision._tag === "Success") {
    if (!peeked) admitted[decision.value.source].updateUnsafe(1, context)
    return
  }
  for (const failure of decision.cause.reasons) {
    if (failure._tag !== "Fail") continue
    if (failure.error.reason._tag === "CannotDecide") undecided.updateUnsafe(1, context)
    if (failure.error.reason._tag !== "RateLimited") continue
    const { source, violated } = failure.error.reason
    denied[source].updateUnsafe(1, context)
    for (const policy of violated) refused(policy).updateUnsafe(1, context)
  }
}
