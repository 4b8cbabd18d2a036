/** A charge as the view `charge_statements` gives it, as JSON, and how it becomes the domain's. */
import { Effect, Schema } from "effect"

import { Currency, MinorUnits } from "../../domain/Money.ts"
import { type Charge, ChargeId, OperationState } from "../../domain/payments/Charge.ts"

export const ChargeRow = Schema.Struct({
  id: ChargeId,
  state: OperationState,
  amount: MinorUnits,
  currency: Currency,
  source: Schema.String,
  description: Schema.NullOr(Schema.String),
  order_id: Schema.NullOr(Schema.String),
  created_at: Schema.String,
  failure_code: Schema.NullOr(Schema.String),
  failure_message: Schema.NullOr(Schema.String)
})

export const toCharge = (row: typeof ChargeRow.Type): Charge => ({
  id: row.id,
  operationState: row.state,
  amount: row.amount,
  currency: row.currency,
  source: row.source,
  description: row.description,
  orderId: row.order_id,
  createdAt: row.created_at,
  failure: row.failure_code === null ? null : { code: row.failure_code, message: row.failure_message ?? "" }
})

const decode = Schema.decodeUnknownEffect(ChargeRow)

/** Dies when the row is not one of ours: then code and schema have parted, and nothing here may go on. */
export const chargeOf = (row: unknown): Effect.Effect<Charge> => Effect.orDie(Effect.map(decode(row), toCharge))
