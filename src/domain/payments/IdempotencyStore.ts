/** What has been said to whom under which key. */
import { Context, Schema } from "effect"
import type { DateTime, Effect, Option } from "effect"

import type { TenantId } from "../Ids.ts"
import type { ChargeId, OperationState } from "./Charge.ts"
import type { Fingerprint } from "./Fingerprint.ts"
import type { IdempotencyKey } from "./IdempotencyKey.ts"

/**
 * An outcome, as it was told the first time and will be told again:
 *
 * - `succeeded`, `failed`: `document` is the charge's statement when it settled.
 * - `refused`: inside the acceptance, by a rule of the ledger; there is no charge.
 */
export const Outcome = Schema.Literals(["succeeded", "failed", "refused"])
export type Outcome = typeof Outcome.Type

export const Told = Schema.Struct({
  fingerprint: Schema.String,
  outcome: Outcome,
  /** JSON text. A charge's statement; of a refusal `{"short_by": n}`, minor units. */
  document: Schema.String,
  charge: Schema.NullOr(Schema.String),
  /** RFC 3339: when the key was first seen, and until when its answer is replayed. */
  firstSeen: Schema.String,
  expires: Schema.String,
  /** What was left of that time, by the store's clock, when this was read. */
  ttlMillis: Schema.Int
})
export interface Told extends Schema.Schema.Type<typeof Told> {}

/** Everything known of a key, for whoever asks why it behaves as it does. */
export interface KeyRecord {
  readonly key: IdempotencyKey
  readonly fingerprint: Fingerprint
  readonly charge: ChargeId | null
  readonly state: OperationState | "refused"
  readonly attempts: number
  /** When the provider is asked next; none when settled, or when a person must act. */
  readonly nextAttemptAt: Option.Option<DateTime.Utc>
  readonly firstSeen: string
  readonly expires: string
}

/** This tenant never used the key, or so long ago that nothing is left of it. */
export class NoSuchKey extends Schema.TaggedError<NoSuchKey>()("NoSuchKey", {}) {}
/** The store did not answer. */
export class KeysUnavailable extends Schema.TaggedError<KeysUnavailable>()("KeysUnavailable", {
  cause: Schema.Defect()
}) {}

/**
 * - A recalled answer is what the truth would say now; when in doubt, nothing is recalled.
 * - Recalling and remembering never fail: they are only ever a shorter way.
 * - Reaping ends replay, never dedupe: what is reaped leaves a tombstone.
 */
export class IdempotencyStore extends Context.Service<
  IdempotencyStore,
  {
    readonly recall: (tenant: TenantId, key: IdempotencyKey) => Effect.Effect<Option.Option<Told>>
    /** After the commit only. */
    readonly remember: (tenant: TenantId, key: IdempotencyKey, told: Told) => Effect.Effect<void>
    readonly inspect: (tenant: TenantId, key: IdempotencyKey) => Effect.Effect<KeyRecord, NoSuchKey | KeysUnavailable>
    /** Turns up to `limit` expired keys into tombstones and drops tombstones past their time; how many rows went. */
    readonly reap: (limit: number) => Effect.Effect<number, KeysUnavailable>
  }
>()("cribwork/payments/IdempotencyStore") {}
