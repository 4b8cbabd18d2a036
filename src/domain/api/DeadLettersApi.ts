/** Charges whose attempts are spent, for the operators who look at them and send them on again. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { AttemptClass } from "../payments/Outbox.ts"
import { Charge } from "./ChargesApi.ts"
import { Authenticated, Bodied, NeededScope } from "./Edge.ts"
import { listOf, pageQuery } from "./Paging.ts"
import * as Problem from "./Problem.ts"

const Attempt = Schema.Struct({
  number: Schema.Int,
  started_at: Schema.String,
  finished_at: Schema.NullOr(Schema.String),
  class: AttemptClass,
  error: Schema.NullOr(Schema.String)
})

export const DeadLetter = Schema.Struct({
  id: Schema.String,
  tenant: Schema.String,
  charge: Charge,
  idempotency_key: Schema.String,
  psp_key: Schema.String.annotate({ description: "The key the provider knows the payment by." }),
  class: AttemptClass.annotate({ description: "How the last attempt ended." }),
  error: Schema.String,
  attempts: Schema.Int,
  buried_at: Schema.String,
  history: Schema.Array(Attempt)
}).annotate({ identifier: "DeadLetter" })

/** Rows of one redrive, at most. */
export const redriveMax = 1000

export const Redrive = Schema.Struct({
  charges: Schema.Union([
    Schema.Literal("all"),
    Schema.NonEmptyArray(Schema.String).check(Schema.isMaxLength(redriveMax))
  ]).annotate({
    description: "`all`, or ids of dead letters or of their charges."
  }),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: redriveMax }))),
  after_evidence: Schema.optionalKey(
    Schema.Boolean.annotate({
      description:
        "You have looked at the provider and vouch that these were not charged. Without it, what may have been charged is refused once the provider no longer dedupes."
    })
  ),
  reason: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(500)).annotate({
    description: "Kept in the audit log."
  })
}).annotate({ identifier: "Redrive" })

export const Redriven = Schema.Struct({
  redriven: Schema.Array(Schema.String),
  refused: Schema.Array(Schema.String)
}).annotate({ identifier: "Redriven" })

const list = HttpApiEndpoint.get("list", "/v1/dead-letters/charges", {
  query: pageQuery,
  success: listOf(DeadLetter),
  error: [Problem.InvalidRequest]
}).annotate(OpenApi.Summary, "Dead letters of all tenants, newest first.")

const find = HttpApiEndpoint.get("find", "/v1/dead-letters/charges/:id", {
  params: { id: Schema.String },
  success: DeadLetter,
  error: [Problem.DeadLetterNotFound]
}).annotate(OpenApi.Summary, "A dead letter with its history, by its id or its charge's.")

const redrive = HttpApiEndpoint.post("redrive", "/v1/dead-letters/charges/redrive", {
  payload: Redrive,
  success: Redriven,
  error: [Problem.InvalidRequest]
})
  .middleware(Bodied)
  .annotate(OpenApi.Summary, "Sends dead letters to the provider again, under the same key.")

export const DeadLettersApi = HttpApiGroup.make("deadLetters")
  .add(list, find, redrive)
  .middleware(Authenticated)
  .annotateEndpoints(NeededScope, "payments:admin")
