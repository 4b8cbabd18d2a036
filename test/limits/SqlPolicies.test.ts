import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { Policies } from "../../src/domain/limits/Policies.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import * as SqlPolicies from "../../src/layers/limits/SqlPolicies.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { policiesSuite, replaced, search } from "./Policies.suite.ts"

const policies = SqlPolicies.layer.pipe(Layer.provideMerge(SqlAuditLog.layer))

policiesSuite("sql", policies.pipe(Layer.provide(testDatabase)))
describeLive("Policies (live sql)", ["postgres"], ({ postgres }) =>
  policiesSuite("live sql", policies.pipe(Layer.provide(liveDatabase(postgres))))
)

/** Another process on the same database. */
const elsewhere = Effect.map(Layer.build(Layer.fresh(SqlPolicies.layer)), (services) => Context.get(services, Policies))
const limitAt = ({ current }: Policies["Service"]) =>
  Effect.map(current, (snapshot) => snapshot.offered("small").get("search")?.limit)
const comes = (at: Policies["Service"], limit: number) =>
  Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), limitAt(at)), { until: (now) => now === limit }).pipe(
    Effect.timeout("2 seconds")
  )

/** As whoever can write to the table does. */
const write = (owner: Owner["Service"], version: number, policy: object) =>
  owner`insert into limit_policies (version, document, set_by)
    values (${version}, ${JSON.stringify({ policies: [policy] })}::text::jsonb, 'somebody')`

layer(policies.pipe(Layer.provideMerge(testDatabase), Layer.provide(Logger.layer([]))), {
  excludeTestServices: true,
  timeout: "60 seconds"
})("SqlPolicies", (it) => {
  it.effect("a document acts within two seconds in other processes, and from the start in those that come later", () =>
    Effect.gen(function* () {
      const other = yield* elsewhere
      yield* replaced(6)
      yield* comes(other, 6)
      assert.strictEqual(yield* limitAt(yield* elsewhere), 6)
    }).pipe(Effect.scoped)
  )

  it.effect("a document and its entry are kept together, or neither is", () =>
    Effect.gen(function* () {
      const [owner, audit, here] = [yield* Owner, yield* AuditLog, yield* Policies]
      yield* replaced(7)
      const { version } = yield* here.current
      const known = (yield* audit.list({ limit: 100 })).length
      yield* owner`create function too_late() returns trigger language plpgsql as
        $$ begin raise exception 'not at the commit'; end $$`
      yield* owner`create constraint trigger too_late after insert on limit_policies
        deferrable initially deferred for each row execute function too_late()`
      assert.strictEqual((yield* Effect.flip(replaced(8)))._tag, "PoliciesUnavailable")
      yield* owner`drop trigger too_late on limit_policies`
      yield* owner`revoke insert on audit_entries from cribwork_app`
      assert.strictEqual((yield* Effect.flip(replaced(8)))._tag, "PoliciesUnavailable")
      yield* owner`grant insert on audit_entries to cribwork_app`
      assert.lengthOf(yield* audit.list({ limit: 100 }), known)
      assert.deepStrictEqual([(yield* here.current).version, yield* limitAt(here)], [version, 7])
      assert.strictEqual((yield* replaced(9)).version, version + 1)
    })
  )

  it.effect("a bad document that somebody else wrote is passed over, and those that come after it are not", () =>
    Effect.gen(function* () {
      const [owner, here] = [yield* Owner, yield* Policies]
      const { version } = yield* replaced(10)
      yield* Effect.forEach([{ limit: 0 }, { name: "public" }, { windows: 1 }], (bad, place) =>
        Effect.gen(function* () {
          yield* write(owner, version + 1 + place, { ...search, limit: 99, ...bad })
          const other = yield* elsewhere
          assert.deepStrictEqual([(yield* other.current).version, yield* limitAt(other)], [version, 10])
        })
      )
      yield* Effect.sleep("1500 millis")
      assert.deepStrictEqual([(yield* here.current).version, yield* limitAt(here)], [version, 10])
      yield* write(owner, version + 4, { ...search, limit: 11 })
      yield* comes(here, 11)
    }).pipe(Effect.scoped)
  )

  it.effect("whoever comes second by an instant is refused", () =>
    Effect.gen(function* () {
      const [owner, here] = [yield* Owner, yield* Policies]
      const { version } = yield* replaced(12)
      const second = yield* owner.withTransaction(
        Effect.gen(function* () {
          yield* write(owner, version + 1, { ...search, limit: 13 })
          const second = yield* Effect.forkChild(Effect.flip(replaced(14, { from: version })))
          const waiting = owner`select from pg_locks where not granted and transactionid = pg_current_xact_id()::xid`
          yield* Effect.repeat(waiting, { until: (rows) => rows.length > 0 })
          return second
        })
      )
      assert.strictEqual((yield* Fiber.join(second))._tag, "VersionStale")
      yield* comes(here, 13)
    })
  )

  it.effect("programs can neither change nor remove a version", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const [may] = yield* owner<{ readonly change: boolean; readonly remove: boolean }>`select
        has_table_privilege('cribwork_app', 'limit_policies', 'update') as change,
        has_table_privilege('cribwork_app', 'limit_policies', 'delete') as remove`
      assert.deepStrictEqual(may, { change: false, remove: false })
    })
  )
})
