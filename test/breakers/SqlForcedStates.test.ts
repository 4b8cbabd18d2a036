import { assert, layer } from "@effect/vitest"
import { DateTime, Effect, Exit, Layer } from "effect"
import { SqlClient } from "effect/sql"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { ForcedStates } from "../../src/domain/breakers/ForcedStates.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import * as SqlForcedStates from "../../src/layers/breakers/SqlForcedStates.ts"
import * as Levers from "../../src/programs/stacks/Levers.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { forcedStatesSuite, order } from "./ForcedStates.suite.ts"
import { byOwner } from "./PassTime.ts"

const states = SqlForcedStates.layer.pipe(Layer.provideMerge(SqlAuditLog.layer), Layer.merge(byOwner))

forcedStatesSuite("sql", states.pipe(Layer.provide(testDatabase)), { excludeTestServices: true })
describeLive("ForcedStates (live sql)", ["postgres"], ({ postgres }) =>
  forcedStatesSuite("live sql", states.pipe(Layer.provide(liveDatabase(postgres))), { excludeTestServices: true })
)

/** As programs wire it, with everybody's audit log beside it. */
const wired = Layer.merge(Levers.layer, SqlAuditLog.layer)

layer(wired.pipe(Layer.provideMerge(testDatabase)), { excludeTestServices: true, timeout: "60 seconds" })(
  "SqlForcedStates",
  (it) => {
    it.effect("an order and its entry are kept together, or neither is", () =>
      Effect.gen(function* () {
        const [states, owner, audit] = [yield* ForcedStates, yield* Owner, yield* AuditLog]
        yield* owner`create function too_late() returns trigger language plpgsql as
          $$ begin raise exception 'not at the commit'; end $$`
        yield* owner`create constraint trigger too_late after insert on breaker_forces
          deferrable initially deferred for each row execute function too_late()`
        assert.strictEqual((yield* Effect.flip(states.force(yield* order())))._tag, "ForcesUnavailable")
        assert.deepStrictEqual([yield* states.active, yield* audit.list({ limit: 9 })], [[], []])
        yield* owner`drop trigger too_late on breaker_forces`

        yield* owner`revoke insert on audit_entries from cribwork_app`
        assert.strictEqual((yield* Effect.flip(states.force(yield* order())))._tag, "ForcesUnavailable")
        assert.deepStrictEqual([yield* states.active, yield* audit.list({ limit: 9 })], [[], []])
        yield* owner`grant insert on audit_entries to cribwork_app`
      })
    )

    it.effect("needs none of the connections that everybody waits for", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const sql = yield* SqlClient.SqlClient
        const held = yield* Effect.forEach(
          Array.from({ length: 8 }),
          () => sql.withTransaction(Effect.andThen(sql`select pg_sleep(5)`, Effect.never)).pipe(Effect.forkScoped),
          { concurrency: "unbounded" }
        )
        assert.lengthOf(held, 8)
        const exit = yield* Effect.exit(Effect.timeout(states.force(yield* order()), "2 seconds"))
        assert.isTrue(Exit.isSuccess(exit))
      }).pipe(Effect.scoped)
    )

    it.effect("no order of more than a day can be written, past all checks", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const at = DateTime.toDateUtc(yield* DateTime.now)
        const refused = yield* Effect.flip(
          sql`insert into breaker_forces (dependency, state, reason, forced_by, forced_at, until)
            values ('psp', 'open', 'x', 'x', ${at}, ${at} + interval '25 hours')`
        )
        assert.strictEqual(refused.reason._tag, "ConstraintError")
      })
    )
  }
)
