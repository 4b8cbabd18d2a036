/** An `AuditLog` in this process: forgets everything on restart, and knows no transactions. Grows without bound. */
import { DateTime, Effect, Layer } from "effect"

import { AuditLog } from "../../domain/access/AuditLog.ts"
import type { AuditEntry } from "../../domain/access/AuditLog.ts"

const make = Effect.sync(() => {
  const entries: Array<AuditEntry> = []

  const record: AuditLog["Service"]["record"] = (act) =>
    Effect.map(DateTime.now, (at) => void entries.push({ ...act, id: String(entries.length + 1), at }))

  const list: AuditLog["Service"]["list"] = ({ limit, before }) =>
    Effect.sync(() => {
      const older = before === undefined ? entries : entries.slice(0, Math.max(0, Number(before) - 1))
      return older.slice(-limit).toReversed()
    })

  return AuditLog.of({ record, list })
})

export const layer: Layer.Layer<AuditLog> = Layer.effect(AuditLog, make)
