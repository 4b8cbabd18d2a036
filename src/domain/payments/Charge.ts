/**
 * One charge: what was asked, and what has become of it. `statement` is the exact text that every caller
 * is told; it is stored when the charge settles, so that a replay years later still reads the same.
 */
import { Schema } from "effect"

import type { Currency, MinorUnits } from "../Money.ts"
import { looksLikeCardNumber } from "./CardNumber.ts"

export const ChargeId = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)),
  Schema.brand("ChargeId")
)
export type ChargeId = typeof ChargeId.Type

const clean = (max: number) =>
  Schema.String.pipe(
    Schema.check(
      Schema.isMinLength(1),
      Schema.isMaxLength(max),
      Schema.makeFilter(
        (text: string) => (text.isWellFormed() && !/\p{Cc}/u.test(text)) || "text without control characters"
      )
    )
  )

/** The provider's token for a means of payment. Never a card number. */
export const Source = Schema.String.pipe(
  Schema.check(
    Schema.isPattern(/^[A-Za-z0-9_-]{1,255}$/),
    Schema.makeFilter((text: string) => !looksLikeCardNumber(text) || "a token, not a card number")
  )
)
export const Description = clean(500)
/** The caller's order; at most one charge of it that has not failed. */
export const OrderId = clean(128)

/**
 * - `accepted`: promised to the provider, nothing known yet.
 * - `unknown`: the provider may have been paid; only evidence resolves it, never time.
 * - `needs_review`: every attempt is spent; a person redrives or resolves it.
 * - `succeeded`: captured. `failed`: certainly not captured.
 */
export const OperationState = Schema.Literals(["accepted", "unknown", "needs_review", "succeeded", "failed"])
export type OperationState = typeof OperationState.Type

export const Failure = Schema.Struct({ code: Schema.String, message: Schema.String })
export interface Failure extends Schema.Schema.Type<typeof Failure> {}

/** What a caller asks for. */
export interface ChargeRequest {
  readonly amount: MinorUnits
  readonly currency: Currency
  readonly source: string
  readonly description: string | null
  readonly orderId: string | null
}

export interface Charge extends ChargeRequest {
  readonly id: ChargeId
  readonly operationState: OperationState
  /** RFC 3339, UTC, milliseconds: the database's clock when the charge was accepted. */
  readonly createdAt: string
  readonly failure: Failure | null
}

/** Nothing more will happen by itself. */
export const isSettled = (state: OperationState): state is "succeeded" | "failed" =>
  state === "succeeded" || state === "failed"

/** The charge as its caller is told, in this order of members for ever. */
export const told = (charge: Charge) => ({
  id: charge.id,
  operation_state: charge.operationState,
  amount: charge.amount,
  currency: charge.currency,
  source: charge.source,
  description: charge.description,
  order_id: charge.orderId,
  created_at: charge.createdAt,
  failure: charge.failure
})

/** The exact text of it. */
export const statement = (charge: Charge): string => JSON.stringify(told(charge))
