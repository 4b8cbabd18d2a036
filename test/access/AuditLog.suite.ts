import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Layer } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"

/** An act as a person at a terminal would do it. */
export const record = (subject: string) => ({
  actor: "cli:ada",
  why: 'rotation, ticket "42"',
  action: "keys.revoke",
  subject,
  before: { scopes: ["ops:read"], note: "ünïcode" },
  after: null
})

/** What every `AuditLog` promises. */
export const auditLogSuite = <E>(name: string, adapter: Layer.Layer<AuditLog, E>) =>
  layer(adapter, { excludeTestServices: true, timeout: "60 seconds" })(`AuditLog (${name})`, (it) => {
    it.effect("keeps who did what to which thing, why, and what it changed", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        yield* log.record(record("kept"))
        const [entry] = yield* log.list({ limit: 1 })
        assert.deepOwnInclude(entry ?? {}, record("kept"))
      })
    )

    it.effect("lists newest first, and a page begins after the last entry of the one before", () =>
      Effect.gen(function* () {
        const log = yield* AuditLog
        for (const subject of ["a", "b", "c"]) yield* log.record(record(subject))
        const newest = yield* log.list({ limit: 2 })
        assert.deepStrictEqual(
          newest.map((entry) => entry.subject),
          ["c", "b"]
        )
        const [next] = yield* log.list({ limit: 1, before: newest[1]?.id ?? "" })
        assert.strictEqual(next?.subject, "a")
      })
    )
  })
