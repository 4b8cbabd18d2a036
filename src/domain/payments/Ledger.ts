/**
 * Double entry: every transfer names one account to debit and one to credit and holds one amount, so it
 * cannot be unbalanced. Transfers are never changed; a hold is later posted or voided by a transfer of its
 * own.
 */
import { Context, Schema } from "effect"
import type { Effect } from "effect"

import type { Page, PageRequest } from "../Cursor.ts"
import type { TenantId } from "../Ids.ts"
import type { Currency } from "../Money.ts"

/** What an account is for. `receivable`: what the provider owes the tenant's customers' money to; `payable`: what we owe the tenant. */
export const AccountCode = Schema.Literals(["receivable", "payable"])
export type AccountCode = typeof AccountCode.Type

export interface Account {
  readonly id: string
  readonly code: AccountCode
  readonly currency: Currency
  /** Minor units; sums may exceed what a double holds. Posted has happened; held is promised. */
  readonly postedDebits: bigint
  readonly postedCredits: bigint
  readonly heldDebits: bigint
  readonly heldCredits: bigint
  /** `posted credits - posted debits - held debits` never falls below it; none, no floor. */
  readonly floor: bigint | null
  /** One more with each transfer that touches the account. */
  readonly version: bigint
  readonly createdAt: string
}

/** A hold promises; a post makes it so; a void gives it back. Each ends one hold, whole. */
export interface Transfer {
  readonly id: string
  readonly kind: "hold" | "post" | "void"
  /** The hold that a post or void ends; null for the hold itself. */
  readonly hold: string | null
  readonly debit: string
  readonly credit: string
  readonly amount: number
}

/** Credits less debits that have happened, minor units. */
export const balance = (account: Account): bigint => account.postedCredits - account.postedDebits

/** What may still be debited above the floor; none without a floor. */
export const available = (account: Account): bigint | null =>
  account.floor === null ? null : balance(account) - account.heldDebits - account.floor

/** What a transfer makes of one of its two accounts. The functions in SQL are translations of this. */
export const touched = <A extends Account>(account: A, transfer: Transfer): A => {
  const amount = BigInt(transfer.amount)
  const held = transfer.kind === "hold" ? amount : -amount
  const posted = transfer.kind === "post" ? amount : 0n
  const version = account.version + 1n
  return account.id === transfer.debit
    ? { ...account, version, heldDebits: account.heldDebits + held, postedDebits: account.postedDebits + posted }
    : { ...account, version, heldCredits: account.heldCredits + held, postedCredits: account.postedCredits + posted }
}

/** Sums stay within a signed 64-bit integer. */
const sumMax = 2n ** 63n - 1n

/** Why the ledger does not promise an amount. `short_by`: minor units missing above the floor. */
export type HoldRefusal =
  | { readonly code: "insufficient_funds"; readonly short_by: number }
  | { readonly code: "account_limit" }

/** May `amount` be held, debiting one account and crediting the other? Null when it may. */
export const refusal = (debit: Account, credit: Account, amount: number): HoldRefusal | null => {
  const free = available(debit)
  if (free !== null && free < BigInt(amount)) return { code: "insufficient_funds", short_by: amount - Number(free) }
  const fits = (posted: bigint, held: bigint) => posted + held + BigInt(amount) <= sumMax
  return fits(debit.postedDebits, debit.heldDebits) && fits(credit.postedCredits, credit.heldCredits)
    ? null
    : { code: "account_limit" }
}

export class NoSuchAccount extends Schema.TaggedError<NoSuchAccount>()("NoSuchAccount", { id: Schema.String }) {}
export class LedgerUnavailable extends Schema.TaggedError<LedgerUnavailable>()("LedgerUnavailable", {
  cause: Schema.Defect()
}) {}

/** What an audit found: sums per currency, over all tenants, in minor units. Equal columns or money was made. */
export interface TrialBalance {
  readonly currency: string
  readonly postedDebits: bigint
  readonly postedCredits: bigint
  readonly heldDebits: bigint
  readonly heldCredits: bigint
  /** Accounts whose balances are not the fold of their transfers. */
  readonly astray: number
}

/**
 * - Posted debits equal posted credits, per currency, always; so do held ones.
 * - A balance is the fold of the account's transfers.
 * - Accounts open when they are first used.
 */
export class Ledger extends Context.Service<
  Ledger,
  {
    readonly account: (tenant: TenantId, id: string) => Effect.Effect<Account, NoSuchAccount | LedgerUnavailable>
    readonly accounts: (tenant: TenantId, page: PageRequest) => Effect.Effect<Page<Account>, LedgerUnavailable>
    readonly audit: Effect.Effect<ReadonlyArray<TrialBalance>, LedgerUnavailable>
  }
>()("cribwork/payments/Ledger") {}
