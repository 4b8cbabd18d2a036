/**
 * Charges on the wire. What is answered under an idempotency key is written byte by byte by the handlers from
 * the charge's statement; the schemas here say what those bytes are.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"

import { Currency, MinorUnits } from "../Money.ts"
import { Description, Failure, OperationState, OrderId, Source } from "../payments/Charge.ts"
import { Authenticated, Bodied, InvalidAs, NeededScope } from "./Edge.ts"
import { listOf, pageQuery } from "./Paging.ts"
import * as Problem from "./Problem.ts"

export const ChargeBody = Schema.Struct({
  amount: MinorUnits.annotate({ description: "Minor units: 1050 of USD is $10.50, of JPY ¥1050." }),
  currency: Currency.annotate({ description: "ISO 4217, upper case." }),
  source: Source.annotate({ description: "The provider's token for a means of payment. Never a card number." }),
  description: Schema.optionalKey(Schema.NullOr(Description)),
  order_id: Schema.optionalKey(
    Schema.NullOr(OrderId).annotate({ description: "At most one charge of an order that has not failed." })
  )
}).annotate({ identifier: "ChargeBody" })

export const Charge = Schema.Struct({
  id: Schema.String,
  operation_state: OperationState,
  amount: Schema.Int,
  currency: Schema.String,
  source: Schema.String,
  description: Schema.NullOr(Schema.String),
  order_id: Schema.NullOr(Schema.String),
  created_at: Schema.String,
  failure: Schema.NullOr(Failure)
}).annotate({ identifier: "Charge" })

export const IdempotencyRecord = Schema.Struct({
  key: Schema.String,
  fingerprint_prefix: Schema.String.annotate({
    description: "The first 12 hexadecimal digits of the request's fingerprint."
  }),
  operation_state: Schema.Union([OperationState, Schema.Literal("refused")]),
  charge: Schema.NullOr(Schema.String),
  attempts: Schema.Int,
  next_action: Schema.Literals(["none", "attempt", "review"]),
  next_attempt_at: Schema.NullOr(Schema.String),
  first_seen_at: Schema.String,
  expires_at: Schema.String
}).annotate({ identifier: "IdempotencyRecord" })

const text = (description: string) => Schema.optionalKey(Schema.String.annotate({ description }))

interface Operation {
  readonly parameters: Array<{ readonly name: string; required: boolean }>
  readonly responses: { readonly [status: string]: { headers?: Record<string, unknown> } }
}

const header = (description: string, required = false) => ({ schema: { type: "string" }, description, required })

/** What stands beside an answer under a key. */
const keyed = {
  "idempotency-key": header("The key, as it was read.", true),
  "idempotency-expires": header("Until when this answer is replayed.", true),
  "idempotent-replayed": header("`true` when an earlier request had used the key."),
  "idempotency-original-date": header("When the key was first seen; on a replay."),
  "preference-applied": header("The wait that was granted, when one was asked for."),
  location: header("The charge.", true)
}

/**
 * Beyond what schemas say: the key is required (optional to the schema, so that a missing one is the problem
 * it is and not a fault among others), and the headers of answers.
 */
const contract = (given: Record<string, unknown>): Record<string, unknown> => {
  const { parameters, responses } = given as Partial<Record<string, unknown>> & Operation
  for (const parameter of parameters) if (parameter.name === "idempotency-key") parameter.required = true
  for (const [status, response] of Object.entries(responses)) {
    if (["201", "202", "402"].includes(status)) response.headers = keyed
    if (status === "202")
      response.headers = { ...keyed, "retry-after": header("Seconds until it is worth a look.", true) }
  }
  return given
}

const create = HttpApiEndpoint.post("create", "/v1/charges", {
  headers: {
    "idempotency-key": text("A lower-case UUID version 4, one for each intent; bare or in double quotes."),
    prefer: text("`wait=N`: hold the answer back up to N seconds (30 at most) until the outcome is known.")
  },
  payload: ChargeBody,
  success: [Charge.pipe(HttpApiSchema.status(201)), Charge.pipe(HttpApiSchema.status(202))],
  error: [
    Problem.IdempotencyKeyMissing,
    Problem.IdempotencyKeyInvalid,
    Problem.IdempotencyKeyReused,
    Problem.OperationInProgress,
    Problem.OperationResultExpired,
    Problem.OrderAlreadyCharged,
    Problem.CardDeclined,
    Problem.InvalidCharge,
    Problem.InsufficientFunds,
    Problem.AccountLimit
  ]
})
  .middleware(Bodied)
  .annotate(NeededScope, "charges:write")
  .annotate(InvalidAs, "invalid-charge")
  .annotate(OpenApi.Summary, "Charge once, however often this is sent.")
  .annotate(
    OpenApi.Description,
    "202: accepted and durable; the outcome follows. 201: captured, when `Prefer: wait` was given or the key is replayed. 402: declined."
  )
  .annotate(OpenApi.Transform, contract)

const find = HttpApiEndpoint.get("find", "/v1/charges/:id", {
  params: { id: Schema.String },
  success: Charge,
  error: [Problem.ChargeNotFound]
})
  .annotate(NeededScope, "charges:read")
  .annotate(OpenApi.Summary, "A charge as it stands.")

const list = HttpApiEndpoint.get("list", "/v1/charges", {
  query: pageQuery,
  success: listOf(Charge),
  error: [Problem.InvalidRequest]
})
  .annotate(NeededScope, "charges:read")
  .annotate(OpenApi.Summary, "Charges, newest first.")

const key = HttpApiEndpoint.get("key", "/v1/idempotency/:key", {
  params: { key: Schema.String },
  success: IdempotencyRecord,
  error: [Problem.IdempotencyKeyNotFound]
})
  .annotate(NeededScope, "charges:read")
  .annotate(OpenApi.Summary, "Why a key behaves as it does: its charge, attempts, and what happens next.")

export const ChargesApi = HttpApiGroup.make("charges").add(create, find, list, key).middleware(Authenticated)
