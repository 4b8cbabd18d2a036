/** An `AuditLog` in Postgres: insert-only by rights and by trigger, in the transaction of the act itself. */
import { DateTime, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"

import { AccessUnavailable, AuditLog } from "../../domain/access/AuditLog.ts"
import type { AuditEntry } from "../../domain/access/AuditLog.ts"

interface Row extends Omit<AuditEntry, "id" | "at"> {
  readonly id: bigint
  readonly at: Date
}

const json = Schema.encodeSync(Schema.fromJsonString(Schema.Json))

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  const record: AuditLog["Service"]["record"] = ({ actor, why, action, subject, before, after }) =>
    sql`insert into audit_entries (actor, why, action, subject, before, after) values
      (${actor}, ${why}, ${action}, ${subject}, ${json(before)}::text::jsonb, ${json(after)}::text::jsonb)`.pipe(
      Effect.asVoid,
      Effect.mapError((cause) => new AccessUnavailable({ cause }))
    )

  const list: AuditLog["Service"]["list"] = ({ limit, before }) =>
    sql<Row>`select id, at, actor, why, action, subject, before, after from audit_entries
      where id < ${before ?? beyondAll}::text::bigint order by id desc limit ${limit}`.pipe(
      Effect.map((rows) => rows.map((row) => ({ ...row, id: String(row.id), at: DateTime.fromDateUnsafe(row.at) }))),
      Effect.mapError((cause) => new AccessUnavailable({ cause }))
    )

  return AuditLog.of({ record, list })
})

export const layer: Layer.Layer<AuditLog, never, SqlClient.SqlClient> = Layer.effect(AuditLog, make)

/** The largest bigint: no entry has it. */
const beyondAll = "9223372036854775807"
