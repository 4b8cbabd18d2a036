/**
 * `/v1/limits`: other services let Cribwork decide about their own callers. A refusal is an answer here, so it
 * is 200; 429 says that the service itself has asked too often.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { costMax, DecisionId, Source } from "../limits/Limiter.ts"
import { policiesMax } from "../limits/ServiceAsk.ts"
import { Authenticated, Bodied, NeededScope } from "./Edge.ts"
import * as Problem from "./Problem.ts"

/** Characters of one name. Longer ones are ids of nothing, and would fill the store. */
const nameMax = 200

const name = (description: string) =>
  Schema.String.check(
    Schema.isPattern(new RegExp(`^[^\\p{Cc}\\p{Cs}]{1,${nameMax}}$`, "u"), {
      message: `Must have 1 to ${nameMax} characters and no control characters.`
    })
  ).annotate({ description })

const members = {
  tenant: name("Whose quota it is, in your words. Nobody else's tenants are meant by it, and none of ours."),
  user: Schema.optionalKey(name("Whom of that tenant. Needed by policies that count by user or by route.")),
  route: Schema.optionalKey(name("What that user does: a pattern, not a raw path. Needed by policies of a route.")),
  cost: Schema.optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: costMax })).annotate({
      description: "Units to spend under each policy; 1 if left out."
    })
  ),
  policies: Schema.optionalKey(
    Schema.NonEmptyArray(Schema.String)
      .check(Schema.isMaxLength(policiesMax))
      .annotate({ description: "Names of policies that must all have room; those of your own plan if left out." })
  )
}

export const AskLimits = Schema.Struct({
  ...members,
  id: Schema.optionalKey(
    DecisionId.annotate({ description: "Names this decision: asked again under the same id it is charged once." })
  )
}).annotate({ identifier: "AskLimits" })

export const PeekLimits = Schema.Struct(members).annotate({ identifier: "PeekLimits" })

export const RefundLimits = Schema.Struct({
  ...members,
  id: DecisionId.annotate({ description: "Of the decision that charged, with everything else as it was asked." })
}).annotate({ identifier: "RefundLimits" })

const verdict = {
  allowed: Schema.Boolean,
  remaining: Schema.Array(Schema.Struct({ policy: Schema.String, remaining: Schema.Int })).annotate({
    description: "Units that are left. Of a refusal only what is known: the policies that have none."
  }),
  retry_after_ms: Schema.Int.annotate({
    description: "With no other traffic the same ask passes after this long, and not earlier; 0 when allowed."
  }),
  violated_policies: Schema.Array(Schema.String).annotate({ description: "Those without room; empty when allowed." }),
  source: Source.annotate({
    description:
      "Who decided: all processes together (`redis`); or one from what it knows, since it counts alone (`memory`), Redis does not answer (`shadow`), a refusal still holds (`denied-cache`), or it borrowed units (`lease`)."
  })
}

export const LimitsPeek = Schema.Struct(verdict).annotate({ identifier: "LimitsPeek" })

export const LimitsDecision = Schema.Struct({
  id: Schema.NullOr(Schema.String).annotate({
    description: "To give back what it charged. Null for a refusal of an ask without an id: it charged nothing."
  }),
  ...verdict
}).annotate({ identifier: "LimitsDecision" })

export const LimitsRefund = Schema.Struct({
  id: Schema.String,
  refunded: Schema.Int.annotate({
    description: "Units given back under each policy; 0 when they no longer counted, or were given back before."
  })
}).annotate({ identifier: "LimitsRefund" })

const take = HttpApiEndpoint.post("take", "/v1/limits/take", {
  payload: AskLimits,
  success: LimitsDecision,
  error: Problem.InvalidRequest
})
  .middleware(Bodied)
  .annotate(NeededScope, "limits:use")
  .annotate(OpenApi.Summary, "May this caller of yours do it? Charges all policies at once, or none.")
  .annotate(
    OpenApi.Description,
    "Always 200 with a decision: 429 is for your own quota. A refusal costs nothing. Whoever sends an id can ask again after a lost answer."
  )

const peek = HttpApiEndpoint.post("peek", "/v1/limits/peek", {
  payload: PeekLimits,
  success: LimitsPeek,
  error: Problem.InvalidRequest
})
  .middleware(Bodied)
  .annotate(NeededScope, "limits:use")
  .annotate(OpenApi.Summary, "What `take` would answer now, charging nothing.")

const refund = HttpApiEndpoint.post("refund", "/v1/limits/refund", {
  payload: RefundLimits,
  success: LimitsRefund,
  error: Problem.InvalidRequest
})
  .middleware(Bodied)
  .annotate(NeededScope, "limits:use")
  .annotate(OpenApi.Summary, "Gives back what a decision of yours charged.")

export const LimitsApi = HttpApiGroup.make("limits").add(take, peek, refund).middleware(Authenticated)
