/** The ledger's accounts on the wire. Sums may exceed 2^53: they are JSON integers all the same, exact. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { Currency } from "../Money.ts"
import { AccountCode } from "../payments/Ledger.ts"
import { Authenticated, NeededScope } from "./Edge.ts"
import { listOf, pageQuery } from "./Paging.ts"
import * as Problem from "./Problem.ts"

const sum = (description: string) => Schema.Int.annotate({ description })

export const Account = Schema.Struct({
  id: Schema.String,
  code: AccountCode,
  currency: Currency,
  posted_debits: sum("Minor units that have been debited."),
  posted_credits: sum("Minor units that have been credited."),
  held_debits: sum("Minor units promised, to be debited or given back."),
  held_credits: sum("Minor units promised, to be credited or given back."),
  balance: sum("Posted credits less posted debits."),
  floor: Schema.NullOr(sum("What balance less held debits never falls below.")),
  version: sum("One more with each transfer."),
  created_at: Schema.String
}).annotate({ identifier: "Account" })

const find = HttpApiEndpoint.get("find", "/v1/accounts/:id", {
  params: { id: Schema.String },
  success: Account,
  error: [Problem.AccountNotFound]
})
  .annotate(NeededScope, "accounts:read")
  .annotate(OpenApi.Summary, "An account and its balances.")

const list = HttpApiEndpoint.get("list", "/v1/accounts", {
  query: pageQuery,
  success: listOf(Account),
  error: [Problem.InvalidRequest]
})
  .annotate(NeededScope, "accounts:read")
  .annotate(OpenApi.Summary, "Accounts, each opened when it was first used.")

export const AccountsApi = HttpApiGroup.make("accounts").add(find, list).middleware(Authenticated)
