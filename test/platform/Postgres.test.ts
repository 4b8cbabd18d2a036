import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"

import { appRole, Reads } from "../../src/layers/platform/Postgres.ts"
import { Owner, testDatabase } from "../Postgres.ts"

layer(testDatabase, { excludeTestServices: true, timeout: "60 seconds" })("Postgres", (it) => {
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
