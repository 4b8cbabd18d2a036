/**
 * The only writer of charges, so that key, ledger and outbox commit as one: a transaction a port would let
 * a crash keep one without the others.
 */
import { Context, Schema } from "effect"
import type { Effect, Option } from "effect"

import type { Page, PageRequest } from "../Cursor.ts"
import type { TenantId } from "../Ids.ts"
import type { Charge, ChargeId, ChargeRequest } from "./Charge.ts"
import type { Fingerprint } from "./Fingerprint.ts"
import type { IdempotencyKey } from "./IdempotencyKey.ts"
import type { Told } from "./IdempotencyStore.ts"
import type { Lease } from "./Outbox.ts"

/** One intent to charge. `traceparent` (W3C) travels with the command to the provider and into the event. */
export interface Intent {
  readonly tenant: TenantId
  readonly key: IdempotencyKey
  readonly fingerprint: Fingerprint
  readonly request: ChargeRequest
  readonly traceparent: Option.Option<string>
}

/**
 * - `Accepted`, `Refused`: by this call; a refusal is the ledger's, and stands under the key.
 * - `Open`, `Settled`: by an earlier one, which is still on its way or has come to its end.
 */
export type Acceptance =
  | { readonly _tag: "Accepted"; readonly charge: Charge; readonly expires: string }
  | { readonly _tag: "Refused"; readonly told: Told }
  | { readonly _tag: "Open"; readonly charge: Charge; readonly firstSeen: string; readonly expires: string }
  | { readonly _tag: "Settled"; readonly told: Told }

/** What the provider said, as far as it settles a charge. */
export type Verdict =
  | { readonly _tag: "Captured"; readonly ref: string }
  | { readonly _tag: "Declined"; readonly code: string; readonly message: string; readonly ref: string | null }

export interface Settlement {
  readonly lease: Lease
  readonly verdict: Verdict
}

/** `Fenced`: the lease was lost or the charge had settled. Nothing changed but the evidence kept. */
export type Settled =
  | { readonly _tag: "Settled"; readonly charge: Charge; readonly told: Told }
  | { readonly _tag: "Fenced" }

/** The key named another request first; that one stands, this one was not executed. */
export class KeyReused extends Schema.TaggedError<KeyReused>()("KeyReused", {}) {}
/** The key is older than its answer is kept. It never charges again; the charge can still be read. */
export class ResultExpired extends Schema.TaggedError<ResultExpired>()("ResultExpired", {
  charge: Schema.NullOr(Schema.String)
}) {}
/** Another charge of this order has not failed. The key stays free. */
export class OrderAlreadyCharged extends Schema.TaggedError<OrderAlreadyCharged>()("OrderAlreadyCharged", {
  charge: Schema.String
}) {}
/** The first request under this key is still being accepted. */
export class OperationInProgress extends Schema.TaggedError<OperationInProgress>()("OperationInProgress", {}) {}
/** No such charge of this tenant. */
export class NoSuchCharge extends Schema.TaggedError<NoSuchCharge>()("NoSuchCharge", { id: Schema.String }) {}
/** Nobody knows: the store did not answer. The same key may be sent again. */
export class ChargesUnavailable extends Schema.TaggedError<ChargesUnavailable>()("ChargesUnavailable", {
  cause: Schema.Defect()
}) {}

export class AcceptError extends Schema.TaggedError<AcceptError>()("AcceptError", {
  reason: Schema.Union([KeyReused, ResultExpired, OrderAlreadyCharged, OperationInProgress, ChargesUnavailable])
}) {}

/**
 * - At most one charge per (tenant, key), for as long as its tombstone stands, TTL or not.
 * - Accepting writes key, charge, hold and provider command, or none of them.
 * - Settling posts or voids the hold, closes the key, removes the command and stages the event, or nothing;
 *   and only under the lease that is current.
 */
export class Charges extends Context.Service<
  Charges,
  {
    readonly accept: (intent: Intent) => Effect.Effect<Acceptance, AcceptError>
    readonly settle: (settlement: Settlement) => Effect.Effect<Settled, ChargesUnavailable>
    readonly find: (tenant: TenantId, id: ChargeId) => Effect.Effect<Charge, NoSuchCharge | ChargesUnavailable>
    /** Newest first. */
    readonly list: (tenant: TenantId, page: PageRequest) => Effect.Effect<Page<Charge>, ChargesUnavailable>
  }
>()("cribwork/payments/Charges") {}
