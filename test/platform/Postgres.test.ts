import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Layer } from "effect"
import { SqlClient } from "effect/sql"

import { appRole, Reads } from "../../src/layers/platform/Postgres.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"

/** What every database of ours promises to programs. */
const postgresSuite = <E>(name: string, database: Layer.Layer<SqlClient.SqlClient | Reads | Owner, E>) =>
  layer(database, { excludeTestServices: true, timeout: "60 seconds" })(`Postgres (${name})`, (it) => {
    it.effect("no statement runs for ever", () =>
      Effect.gen(function* () {
        for (const sql of [yield* SqlClient.SqlClient, yield* Reads]) {
          const rows = yield* sql`select current_setting('statement_timeout') as longest,
            current_setting('idle_in_transaction_session_timeout') as idle`
          assert.deepStrictEqual(rows, [{ longest: "10s", idle: "10s" }])
        }
      })
    )

    it.effect("programs work as a role that owns nothing", () =>
      Effect.gen(function* () {
        for (const sql of [yield* SqlClient.SqlClient, yield* Reads]) {
          assert.deepStrictEqual(yield* sql`select current_user::text as who`, [{ who: appRole }])
          const refused = yield* Effect.flip(sql`create table mine (id int)`)
          assert.strictEqual(refused.reason._tag, "AuthorizationError")
        }
        const owner = yield* Owner
        assert.notDeepEqual(yield* owner`select current_user::text as who`, [{ who: appRole }])
      })
    )
  })

postgresSuite("embedded", testDatabase)
describeLive("Postgres (live)", ["postgres"], ({ postgres }) => postgresSuite("live", liveDatabase(postgres)))
