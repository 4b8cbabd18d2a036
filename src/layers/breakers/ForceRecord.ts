/** What the audit log keeps of an order and of its lifting, whoever keeps the orders themselves. */
import { DateTime, type Schema } from "effect"

import type { AuditRecord } from "../../domain/access/AuditLog.ts"
import type { ForcedState, Lift } from "../../domain/breakers/ForcedStates.ts"

const told = (forced: ForcedState | undefined): Schema.Json =>
  forced === undefined
    ? null
    : { state: forced.to, until: DateTime.formatIso(forced.until), by: forced.by, reason: forced.reason }

export const forceRecord = (before: ForcedState | undefined, forced: ForcedState): AuditRecord => ({
  actor: forced.by,
  why: forced.reason,
  action: "breakers.force",
  subject: forced.dependency,
  before: told(before),
  after: told(forced)
})

export const liftRecord = (before: ForcedState, lift: Lift): AuditRecord => ({
  actor: lift.by,
  why: lift.reason,
  action: "breakers.lift",
  subject: lift.dependency,
  before: told(before),
  after: null
})
