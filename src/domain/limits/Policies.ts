/** The document of policies that holds now, and how operators put another in its place. */
import { Context, Schema } from "effect"
import type { Array, Effect } from "effect"

import { plans } from "./Plan.ts"
import type { PlanName } from "./Plan.ts"
import type { Policy } from "./Policy.ts"
import { policyFor, Wrong, wrongIn } from "./PolicyDocument.ts"
import type { PolicyDocument } from "./PolicyDocument.ts"

/** One version of the document, whole: whoever holds it sees no other. */
export class Snapshot {
  /** Grows by one with every document; 0 before the first. */
  readonly version: number
  readonly document: PolicyDocument
  readonly #offered: { readonly [P in PlanName]: ReadonlyMap<string, Policy> }

  constructor(version: number, document: PolicyDocument) {
    this.version = version
    this.document = document
    const offered = (plan: PlanName) =>
      new Map([...ours, ...document.policies.map((one) => entry(policyFor(one, plan)))])
    this.#offered = { generous: offered("generous"), small: offered("small") }
  }

  /** What a key under this plan may ask for, by name: the policies of the document, and of the house's own plans. */
  offered(plan: PlanName): ReadonlyMap<string, Policy> {
    return this.#offered[plan]
  }
}

const entry = (policy: Policy): [string, Policy] => [policy.name, policy]
const ours = Object.values(plans).flatMap(({ route, tenant, user }) => [tenant, user, route].map(entry))

/** No: these places are wrong, and the document that held before still does. */
export class DocumentRefused extends Schema.TaggedError<DocumentRefused>()("DocumentRefused", {
  wrong: Schema.NonEmptyArray(Wrong)
}) {}

/** No: somebody else was faster, and what this was made from no longer holds. */
export class VersionStale extends Schema.TaggedError<VersionStale>()("VersionStale", {}) {}

/** Don't know: whoever keeps the document did not answer. */
export class PoliciesUnavailable extends Schema.TaggedError<PoliciesUnavailable>()("PoliciesUnavailable", {
  cause: Schema.Defect()
}) {}

export interface Replacement {
  readonly document: PolicyDocument
  /** The version that it was made from. */
  readonly from: number
  readonly reason: string
  /** A key's id or a person at a terminal, as in the audit log. */
  readonly by: string
}

/**
 * The policies that services may ask for.
 *
 * - `current` costs nothing, and is one whole document: never half of two.
 * - A document in whose place another was put acts no longer two seconds later, in any process; where it was
 *   done, at once.
 * - Of two made from one version, one holds and the other is refused.
 * - A document and its entry in the audit log are kept together, or neither is.
 * - A bad document changes nothing, whichever way it came.
 */
export class Policies extends Context.Service<
  Policies,
  {
    readonly current: Effect.Effect<Snapshot>
    readonly replace: (
      replacement: Replacement
    ) => Effect.Effect<Snapshot, DocumentRefused | VersionStale | PoliciesUnavailable>
  }
>()("cribwork/limits/Policies") {}

/** The rule of `DocumentRefused`; undefined when it is kept. */
export const refusalOf = (document: PolicyDocument, before: PolicyDocument): DocumentRefused | undefined => {
  const wrong = wrongIn(document, before)
  return wrong.length === 0 ? undefined : new DocumentRefused({ wrong: wrong as Array.NonEmptyReadonlyArray<Wrong> })
}
