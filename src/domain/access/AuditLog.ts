/** What people with power did, and why. Rows are added and never changed. */
import { Context, Schema } from "effect"
import type { DateTime, Effect } from "effect"

/** Don't know: whoever keeps keys and acts did not answer, or not in time. */
export class AccessUnavailable extends Schema.TaggedError<AccessUnavailable>()("AccessUnavailable", {
  cause: Schema.Defect()
}) {}

/** Who does something, and the reason they give. An actor is a key's id or a person at a terminal (`cli:ada`). */
export interface Act {
  readonly actor: string
  readonly why: string
}

/** An act, and what it changed: `before` and `after` are JSON, null where there is nothing. */
export interface AuditRecord extends Act {
  /** Verb and noun with dots, such as `keys.revoke`. */
  readonly action: string
  /** The id of what was acted on. */
  readonly subject: string
  readonly before: Schema.Json
  readonly after: Schema.Json
}

export interface AuditEntry extends AuditRecord {
  /** Grows with every entry; a page's last one is where the next page starts. */
  readonly id: string
  readonly at: DateTime.Utc
}

/**
 * The audit log.
 *
 * - `record` joins the transaction it is called in: act and entry are kept together, or neither is.
 * - Nobody can change or remove an entry, not even the programs that write them.
 */
export class AuditLog extends Context.Service<
  AuditLog,
  {
    readonly record: (record: AuditRecord) => Effect.Effect<void, AccessUnavailable>
    /** Newest first, at most `limit`, older than the entry `before` if one is named. */
    readonly list: (page: {
      readonly limit: number
      readonly before?: string
    }) => Effect.Effect<ReadonlyArray<AuditEntry>, AccessUnavailable>
  }
>()("cribwork/access/AuditLog") {}
