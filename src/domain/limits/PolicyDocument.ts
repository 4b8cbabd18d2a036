/**
 * The policies that other services may ask for, as one document that people write, send and keep. All of its
 * names and numbers are checked here, so that a limiter never meets a policy that it could not keep.
 */
import { Duration, Schema } from "effect"

import { costMax } from "./Limiter.ts"
import { PlanName, plans } from "./Plan.ts"
import { leaseMax, limitMax, Outage, Policy, PolicyName, windowMax } from "./Policy.ts"

/** Most policies of a document. */
export const policiesMax = 100

/**
 * Most units that all keys of all policies may hold at once, as their writers expect: at 24 bytes a unit that is
 * about a gigabyte in a store.
 */
export const unitsMax = 40_000_000

/** Longest time for which units are lent: a process that dies with them wastes them for so long. */
const leaseTtlMax = Duration.minutes(1)

const whole = (maximum: number, description: string) =>
  Schema.Int.check(Schema.isBetween({ minimum: 1, maximum })).annotate({ description })

const limit = whole(limitMax, "Units in any window.")

export const NamedPolicy = Schema.Struct({
  name: PolicyName,
  scope: Schema.Literals(["tenant", "user", "route"]).annotate({ description: "Whose use is counted." }),
  window_ms: whole(Duration.toMillis(windowMax), "A name keeps its window: counts belong to the name."),
  limit: Schema.Union([limit, Schema.Record(PlanName, limit)]).annotate({
    description: "For everybody, or for each plan that the key which asks may be under."
  }),
  expected_keys: whole(limitMax, "Keys that you expect to be in use within one window; times limit, it is budgeted."),
  cost_max: Schema.optionalKey(whole(costMax, "The most that one ask may cost.")),
  outage: Schema.optionalKey(
    Outage.annotate({ description: "What to do while nobody knows the counts; `soft` if left out." })
  ),
  lease: Schema.optionalKey(
    Schema.Struct({
      units: whole(leaseMax, "Units that one process may borrow."),
      ttl_ms: whole(Duration.toMillis(leaseTtlMax), "For how long.")
    }).annotate({ description: "For keys that one process asks for by the dozen." })
  ),
  observe: Schema.optionalKey(Schema.Boolean.annotate({ description: "Counts, and refuses nobody." }))
}).annotate({ identifier: "LimitsPolicy" })
export type NamedPolicy = typeof NamedPolicy.Type

export const PolicyDocument = Schema.Struct({
  policies: Schema.Array(NamedPolicy).check(Schema.isMaxLength(policiesMax))
})
export type PolicyDocument = typeof PolicyDocument.Type

/** Before anybody has written one. */
export const empty: PolicyDocument = { policies: [] }

/** Where in a document something is wrong: a JSON pointer (RFC 6901), and what. */
export const Wrong = Schema.Struct({ pointer: Schema.String, detail: Schema.String })
export type Wrong = typeof Wrong.Type

/** Names of policies that stand before our own routes; to change them is not for a document of services. */
const ours: ReadonlySet<string> = new Set([
  ...Object.values(plans).flatMap(({ route, tenant, user }) => [tenant.name, user.name, route.name]),
  "failed-authentication",
  "public"
])

const largest = ({ limit }: NamedPolicy): number =>
  typeof limit === "number" ? limit : Math.max(...Object.values(limit))

const smallest = ({ limit }: NamedPolicy): number =>
  typeof limit === "number" ? limit : Math.min(...Object.values(limit))

const windowsOf = ({ policies }: PolicyDocument) =>
  new Map(policies.map(({ name, window_ms }): [string, number] => [name, window_ms]))

/** What no single member shows: names, windows and memory, beside the document that it takes the place of. */
export const wrongIn = (document: PolicyDocument, before: PolicyDocument): ReadonlyArray<Wrong> => {
  const wrong: Array<Wrong> = []
  const seen = new Set<string>()
  const windows = windowsOf(before)
  let units = 0
  for (const [at, policy] of document.policies.entries()) {
    const refuse = (member: string, detail: string) => wrong.push({ pointer: `/policies/${at}/${member}`, detail })
    const { cost_max, lease, name, window_ms } = policy
    if (ours.has(name)) refuse("name", "This is a policy of the house itself.")
    if (seen.has(name)) refuse("name", "Another policy of this document has this name.")
    seen.add(name)
    const window = windows.get(name)
    if (window !== undefined && window !== window_ms) {
      refuse("window_ms", `Counts of this name are of ${window} ms; give another window another name.`)
    }
    if (cost_max !== undefined && cost_max > smallest(policy)) refuse("cost_max", "Above the limit.")
    if (lease !== undefined && lease.units > smallest(policy)) refuse("lease/units", "Above the limit.")
    units += largest(policy) * policy.expected_keys
    if (units > unitsMax) {
      refuse("expected_keys", `With the policies above, ${units} units would be kept; there is room for ${unitsMax}.`)
      break
    }
  }
  return wrong
}

/** A policy as a limiter takes it, for an ask of a key under this plan. */
export const policyFor = (of: NamedPolicy, plan: PlanName): Policy =>
  new Policy({
    name: of.name,
    scope: of.scope,
    limit: typeof of.limit === "number" ? of.limit : of.limit[plan],
    window: Duration.millis(of.window_ms),
    ...(of.cost_max === undefined ? {} : { costMax: of.cost_max }),
    ...(of.lease === undefined ? {} : { lease: { units: of.lease.units, ttl: Duration.millis(of.lease.ttl_ms) } }),
    ...(of.outage === undefined ? {} : { outage: of.outage }),
    ...(of.observe === undefined ? {} : { observe: of.observe })
  })
