import * as fs from "node:fs"

import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Layer } from "effect"
import { SqlClient } from "effect/sql"

import { dumpFile, schemaDump } from "../../tools/schema.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"

/** Older servers print a view's query in other words. */
const withoutViews = (dump: string) =>
  dump
    .split("\n\n")
    .filter((statement) => !statement.startsWith("create view"))
    .join("\n\n")

const schemaSuite = <E>(name: string, database: Layer.Layer<Owner, E>, shown: (dump: string) => string) =>
  layer(database, { excludeTestServices: true, timeout: "60 seconds" })(`the schema (${name})`, (it) => {
    it.effect("is what migrations/schema.dump.sql shows: npm run schema", () =>
      Effect.gen(function* () {
        const dump = yield* Effect.provideService(schemaDump, SqlClient.SqlClient, yield* Owner)
        assert.strictEqual(shown(dump), shown(fs.readFileSync(dumpFile, "utf8")))
      })
    )
  })

schemaSuite("embedded", testDatabase, (dump) => dump)
describeLive("the schema (live)", ["postgres"], ({ postgres }) =>
  schemaSuite("live", liveDatabase(postgres), withoutViews)
)
