/**
 * The rows behind the in-memory payment adapters, which are the SQL functions translated: charges, keys,
 * commands and ledger in one place, so that a change of several of them is one synchronous step. Forgotten
 * when the process ends; grows without bound, as a test or a demonstration may.
 */
import { Context, DateTime, Effect, Layer } from "effect"

import type { TenantId } from "../../domain/Ids.ts"
import type { Charge } from "../../domain/payments/Charge.ts"
import type { Fingerprint } from "../../domain/payments/Fingerprint.ts"
import type { IdempotencyKey } from "../../domain/payments/IdempotencyKey.ts"
import type { Told } from "../../domain/payments/IdempotencyStore.ts"
import { type Account, type AccountCode, type Transfer, touched } from "../../domain/payments/Ledger.ts"
import type { Attempt, AttemptClass } from "../../domain/payments/Outbox.ts"

export interface KeyRow {
  readonly tenant: TenantId
  readonly key: IdempotencyKey
  readonly fingerprint: Fingerprint
  readonly charge: string
  readonly firstSeen: number
  readonly expiresAt: number
  told: Told | undefined
}

export interface Operation {
  readonly id: string
  readonly tenant: TenantId
  readonly key: IdempotencyKey
  readonly charge: string
  readonly pspKey: string
  readonly hold: Transfer
  firstSentAt: number
}

export interface Command {
  readonly operation: Operation
  readonly traceparent: string | undefined
  state: "ready" | "leased" | "dead"
  availableAt: number
  attempts: number
  epoch: number
  uncertain: boolean
  lastClass: AttemptClass
  lastError: string
  buriedAt: number
}

export interface Books {
  readonly keys: Map<string, KeyRow>
  readonly tombstones: Map<string, { readonly charge: string | null; readonly forgetAt: number }>
  readonly charges: Map<string, { readonly tenant: TenantId; charge: Charge }>
  readonly operations: Map<string, Operation>
  readonly commands: Map<string, Command>
  readonly attempts: Map<string, Array<Attempt>>
  readonly accounts: Map<string, Account & { readonly tenant: TenantId }>
  readonly transfers: Array<Transfer>
}

export class MemoryBooks extends Context.Service<MemoryBooks, Books>()("cribwork/payments/MemoryBooks") {}

export const layer: Layer.Layer<MemoryBooks> = Layer.effect(
  MemoryBooks,
  Effect.sync(() => ({
    keys: new Map(),
    tombstones: new Map(),
    charges: new Map(),
    operations: new Map(),
    commands: new Map(),
    attempts: new Map(),
    accounts: new Map(),
    transfers: []
  }))
)

/** Tenants hold no `|`. */
export const nameOf = (tenant: TenantId, key: IdempotencyKey) => `${tenant}|${key}`

export const rfc3339 = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

/** Opened when first used. */
export const account = (
  books: Books,
  tenant: TenantId,
  code: AccountCode,
  currency: Account["currency"],
  now: number
) => {
  const name = `${tenant}|${currency}|${code}`
  const found = books.accounts.get(name)
  if (found !== undefined) return found
  const index = String(books.accounts.size + 1).padStart(12, "0")
  const opened = {
    tenant,
    id: `00000000-0000-4000-8000-${index}`,
    code,
    currency,
    postedDebits: 0n,
    postedCredits: 0n,
    heldDebits: 0n,
    heldCredits: 0n,
    floor: null,
    version: 0n,
    createdAt: rfc3339(now)
  }
  books.accounts.set(name, opened)
  return opened
}

/** Writes a transfer and what it does to both of its accounts. */
export const write = (books: Books, transfer: Transfer): void => {
  books.transfers.push(transfer)
  for (const [name, row] of books.accounts) {
    if (row.id === transfer.debit || row.id === transfer.credit) books.accounts.set(name, touched(row, transfer))
  }
}
