/** A charge of the wire, for people. */
import type { Charge } from "../../domain/api/ChargesApi.ts"
import { type Currency, format } from "../../domain/Money.ts"
import { time } from "./Table.ts"

/** The server checked the currency; one that this code does not know is shown with two decimals. */
export const amount = (charge: typeof Charge.Type): string => format(charge.amount, charge.currency as Currency)

export const chargeFacts = (charge: typeof Charge.Type): ReadonlyArray<readonly [string, string]> => [
  ["charge", charge.id],
  ["state", charge.operation_state],
  ["amount", amount(charge)],
  ["source", charge.source],
  ["description", charge.description ?? "-"],
  ["order", charge.order_id ?? "-"],
  ["created", time(charge.created_at)],
  ["failure", charge.failure === null ? "-" : `${charge.failure.code}: ${charge.failure.message}`]
]
