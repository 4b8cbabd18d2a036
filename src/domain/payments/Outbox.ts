/**
 * Commands to the payment provider, durable before they are sent. A command is claimed under a lease and an
 * epoch; whoever comes back with an older epoch changes nothing. Attempts count when claimed, so a crash
 * in the middle of one is an attempt.
 */
import { Context, Schema } from "effect"
import type { DateTime, Duration, Effect, Option } from "effect"

import type { Page, PageRequest } from "../Cursor.ts"
import type { TenantId } from "../Ids.ts"
import type { Charge } from "./Charge.ts"
import type { IdempotencyKey } from "./IdempotencyKey.ts"

/** How an attempt ended, by evidence. `unknown`: it may have been executed. */
export const AttemptClass = Schema.Literals([
  "started",
  "not_sent",
  "busy",
  "declined",
  "invalid",
  "captured",
  "unknown"
])
export type AttemptClass = typeof AttemptClass.Type

/** The right to work on a command, until the lease ends. */
export interface Lease {
  readonly operation: string
  readonly epoch: number
  readonly tenant: TenantId
  readonly key: IdempotencyKey
  readonly pspKey: string
  readonly charge: Charge
  /** This one included. */
  readonly attempts: number
  /** An earlier attempt may have been executed: look before sending again. */
  readonly uncertain: boolean
  /** The provider still dedupes on our key for longer than a request can be on its way. */
  readonly sendable: boolean
  readonly traceparent: Option.Option<string>
}

/** What becomes of a command whose attempt settled nothing. */
export type Ack =
  | { readonly _tag: "Retry"; readonly class: AttemptClass; readonly error: string; readonly delay: Duration.Duration }
  | { readonly _tag: "Bury"; readonly class: AttemptClass; readonly error: string }
  /** Nothing was sent and nobody is to blame: the attempt does not count. */
  | { readonly _tag: "Park"; readonly delay: Duration.Duration }

export interface Attempt {
  readonly number: number
  readonly epoch: number
  readonly startedAt: DateTime.Utc
  readonly finishedAt: Option.Option<DateTime.Utc>
  readonly class: AttemptClass
  readonly error: string | null
}

export interface DeadLetter {
  readonly operation: string
  readonly tenant: TenantId
  readonly charge: Charge
  readonly key: IdempotencyKey
  readonly pspKey: string
  readonly class: AttemptClass
  readonly error: string
  readonly attempts: number
  readonly buriedAt: DateTime.Utc
  readonly history: ReadonlyArray<Attempt>
}

export interface Redriven {
  readonly redriven: ReadonlyArray<string>
  /** Their outcome is unknown and the provider no longer dedupes: sending again could charge twice. */
  readonly refused: ReadonlyArray<string>
}

/** Which dead letters to redrive, by their ids or their charges'. `evidence`: someone has looked, and vouches that it is safe. */
export interface RedriveRequest {
  readonly operations: ReadonlyArray<string> | "all"
  readonly limit: number
  readonly evidence: boolean
}

export class NoSuchDeadLetter extends Schema.TaggedError<NoSuchDeadLetter>()("NoSuchDeadLetter", {
  id: Schema.String
}) {}
export class OutboxUnavailable extends Schema.TaggedError<OutboxUnavailable>()("OutboxUnavailable", {
  cause: Schema.Defect()
}) {}

/**
 * - One (owner, epoch) per command; a stale epoch writes nothing but evidence.
 * - One tenant's backlog delays another's head by one claim at most.
 * - Redriving keeps the provider's key and the generation.
 * - The database's clock alone decides what is due and whose lease has ended.
 *
 * Whoever makes a promise stages its command in the same transaction; `Charges.accept` does.
 */
export class Outbox extends Context.Service<
  Outbox,
  {
    /** Stages the command of an operation that is not settled and has none. Joins the ambient transaction. */
    readonly stage: (operation: string) => Effect.Effect<void, OutboxUnavailable>
    readonly claim: (owner: string, limit: number) => Effect.Effect<ReadonlyArray<Lease>, OutboxUnavailable>
    /** False: the lease was lost, nothing changed. */
    readonly ack: (lease: Lease, ack: Ack) => Effect.Effect<boolean, OutboxUnavailable>
    readonly deadLetters: (page: PageRequest) => Effect.Effect<Page<DeadLetter>, OutboxUnavailable>
    /** By its id or its charge's. */
    readonly deadLetter: (id: string) => Effect.Effect<DeadLetter, NoSuchDeadLetter | OutboxUnavailable>
    /** Joins the ambient transaction, so that the audit entry commits with it. */
    readonly redrive: (request: RedriveRequest) => Effect.Effect<Redriven, OutboxUnavailable>
  }
>()("cribwork/payments/Outbox") {}
