import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"

import { testPostgres } from "../Postgres.ts"

layer(testPostgres, { excludeTestServices: true, timeout: "60 seconds" })("embedded Postgres", (it) => {
  it.effect("answers", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
    })
  )
})
