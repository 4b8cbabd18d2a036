/**
 * What another service asks of us about its own callers. Its keys live in a namespace of the tenant that asks:
 * it cannot name the quota of anybody else, nor one that stands before our own routes.
 */
import { Array, Result, Schema } from "effect"

import type { TenantId } from "../Ids.ts"
import type { AskKey } from "./Limiter.ts"
import { plans } from "./Plan.ts"
import type { Plan } from "./Plan.ts"
import type { Snapshot } from "./Policies.ts"
import { PolicyName } from "./Policy.ts"
import type { Policy } from "./Policy.ts"

/** Most policies of one ask. */
export const policiesMax = 8

/** Whom it is about, in the words of the service: to us they are only names. */
export interface Subject {
  readonly tenant: string
  readonly user?: string | undefined
  readonly route?: string | undefined
}

/** No: nothing that may be asked for is called so. `at` is its place among the names of the ask. */
export class NoSuchPolicy extends Schema.TaggedError<NoSuchPolicy>()("NoSuchPolicy", { at: Schema.Int }) {}

/** No: what this policy counts by was not said. */
export class SubjectIncomplete extends Schema.TaggedError<SubjectIncomplete>()("SubjectIncomplete", {
  policy: PolicyName,
  missing: Schema.Literals(["user", "route"])
}) {}

const named = (names: Array.NonEmptyReadonlyArray<string>, offered: ReadonlyMap<string, Policy>) =>
  Array.map(names, (name, at) => Result.fromNullishOr(offered.get(name), () => new NoSuchPolicy({ at })))

/** Those of a plan that count by something that was said; a route is one user's. */
const implied = (plan: Plan, { route, user }: Subject): Array.NonEmptyReadonlyArray<Policy> => [
  plan.tenant,
  ...(user === undefined ? [] : [plan.user]),
  ...(route === undefined ? [] : [plan.route])
]

/** No `TenantId` has a `~`: the first one ends the name of who asks, and no key of ours begins like this. */
const namespaced = (by: TenantId, tenant: string) => `${by}~${tenant}`

const keyOf = (by: TenantId, { route, tenant, user }: Subject, policy: Policy) => {
  const missing = (segment: "user" | "route") =>
    Result.fail(new SubjectIncomplete({ policy: policy.name, missing: segment }))
  const key = [namespaced(by, tenant)] as const
  if (policy.scope === "tenant") return Result.succeed<AskKey>({ policy, key })
  if (user === undefined) return missing("user")
  if (policy.scope === "user") return Result.succeed<AskKey>({ policy, key: [...key, user] })
  return route === undefined ? missing("route") : Result.succeed<AskKey>({ policy, key: [...key, user, route] })
}

/** The keys that are charged: under the policies named, or else under those of the plan of who asks. */
export const keysFor = (
  by: { readonly tenant: TenantId; readonly plan: Plan["name"] },
  subject: Subject,
  names: Array.NonEmptyReadonlyArray<string> | undefined,
  policies: Snapshot
): Result.Result<Array.NonEmptyReadonlyArray<AskKey>, NoSuchPolicy | SubjectIncomplete> => {
  const asked =
    names === undefined
      ? Result.succeed(implied(plans[by.plan], subject))
      : Result.all(named(names, policies.offered(by.plan)))
  return Result.flatMap(asked, (all) => Result.all(Array.map(all, (policy) => keyOf(by.tenant, subject, policy))))
}
