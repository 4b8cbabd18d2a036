import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { auditLogSuite, record } from "./AuditLog.suite.ts"

auditLogSuite("sql", SqlAuditLog.layer.pipe(Layer.provide(testDatabase)))
describeLive("AuditLog (live sql)", ["postgres"], ({ postgres }) =>
  auditLogSuite("live sql", SqlAuditLog.layer.pipe(Layer.provide(liveDatabase(postgres))))
)

layer(SqlAuditLog.layer.pipe(Layer.provideMerge(testDatabase)), { excludeTestServices: true, timeout: "60 seconds" })(
  "SqlAuditLog",
  (it) => {
    it.effect("an entry lives and dies with the transaction of its act", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        const sql = yield* SqlClient.SqlClient
        yield* Effect.flip(
          sql.withTransaction(Effect.andThen(log.record(record("undone")), Effect.fail("changed my mind")))
        )
        assert.deepStrictEqual(yield* log.list({ limit: 10 }), [])
      })
    )

    it.effect("nobody changes or removes an entry, not even the owner of the schema", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        yield* log.record(record("kept"))
        const [sql, owner] = [yield* SqlClient.SqlClient, yield* Owner]
        for (const change of [
          "update audit_entries set why = ''",
          "delete from audit_entries",
          "truncate audit_entries"
        ]) {
          assert.strictEqual((yield* Effect.flip(sql.unsafe(change))).reason._tag, "AuthorizationError", change)
          assert.strictEqual((yield* Effect.flip(owner.unsafe(change))).reason._tag, "ConstraintError", change)
        }
        assert.strictEqual((yield* log.list({ limit: 10 })).length, 1)
      })
    )
  }
)
