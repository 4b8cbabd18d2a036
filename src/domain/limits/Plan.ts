/**
 * What an API key may use. Each plan names its own policies, so that the keys of one tenant under two plans
 * do not share counts whose windows differ.
 */
import { Duration, Schema } from "effect"
import type { Array } from "effect"

import type { AskKey } from "./Limiter.ts"
import { Policy, PolicyName } from "./Policy.ts"
import type { Scope } from "./Policy.ts"

export const PlanName = Schema.Literals(["generous", "small"])
export type PlanName = typeof PlanName.Type

/** Three quotas that hold at once: everything a tenant does, everything one user does, one user on one route. */
export interface Plan {
  readonly name: PlanName
  readonly tenant: Policy
  readonly user: Policy
  readonly route: Policy
}

/** Who asks for what, from a checked API key and the route's pattern (never the raw path: it has no end). */
export interface Caller {
  readonly tenant: string
  readonly user: string
  readonly route: string
}

const policy = (name: string, scope: Scope, limit: number, window: Duration.Duration) =>
  new Policy({ name: PolicyName.make(name), scope, limit, window })

const plan = (
  name: PlanName,
  window: Duration.Duration,
  limits: { readonly tenant: number; readonly user: number; readonly route: number }
): Plan => ({
  name,
  tenant: policy(`${name}-tenant`, "tenant", limits.tenant, window),
  user: policy(`${name}-user`, "user", limits.user, window),
  route: policy(`${name}-route`, "route", limits.route, window)
})

/**
 * `generous` is about twice what one process of ours serves on two cores, so that a load test from a laptop
 * measures the house and not its limiter, while a runaway client still meets an end. `small` is there to be
 * reached by hand: the sixth request in ten seconds is refused.
 */
export const plans: { readonly [Name in PlanName]: Plan } = {
  generous: plan("generous", Duration.seconds(1), { tenant: 50_000, user: 20_000, route: 20_000 }),
  small: plan("small", Duration.seconds(10), { tenant: 10, user: 5, route: 5 })
}

/** The keys that one request of this caller is charged under. */
export const asksFor = (of: Plan, { tenant, user, route }: Caller): Array.NonEmptyReadonlyArray<AskKey> => [
  { policy: of.tenant, key: [tenant] },
  { policy: of.user, key: [tenant, user] },
  { policy: of.route, key: [tenant, user, route] }
]

/** What an address may fail to authenticate; beyond it no key of that address is looked up. */
export const failedAuthentication = (perMinute: number): Policy =>
  policy("failed-authentication", "address", perMinute, Duration.minutes(1))

/** Routes without a key (health, documents), by address: far above any prober, below a flood. */
export const publicRoutes: Policy = policy("public", "address", 2000, Duration.seconds(1))

/** The one key of a policy that counts by address. */
export const asksForAddress = (of: Policy, address: string): Array.NonEmptyReadonlyArray<AskKey> => [
  { policy: of, key: [address] }
]
