/**
 * Writes migrations/schema.dump.sql, the schema as all migrations together leave it, for reviewers:
 * `npm run schema`. A test compares the two. Made from the catalog, since the embedded Postgres brings no
 * pg_dump, and the dump of one version is not that of another.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

import { PgClient } from "@effect/sql-pg"
import { ConfigProvider, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"

import * as EmbeddedPostgres from "../src/layers/platform/EmbeddedPostgres.ts"
import * as Migrations from "../src/layers/platform/Migrations.ts"
import * as Settings from "../src/layers/platform/Settings.ts"

export const dumpFile = fileURLToPath(new URL("../migrations/schema.dump.sql", import.meta.url))

const statements = fs.readFileSync(new URL("./schemaDump.sql", import.meta.url), "utf8")

/** The schema of the database that the client is connected to. */
export const schemaDump = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql.unsafe<{ text: string }>(statements).unprepared
  return `-- What all migrations together leave, made by \`npm run schema\`. For reading; nothing runs it.\n\n${rows
    .map((row) => row.text)
    .join("\n\n")}\n`
})

const write = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-schema-"))
      fs.chmodSync(folder, 0o755)
      return folder
    }),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  )
  const embedded = EmbeddedPostgres.layer({ fresh: true, durable: false }).pipe(
    Layer.provide(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ CRIBWORK_DATA: folder })))
  )
  const client = Layer.unwrap(
    Effect.map(EmbeddedPostgres.PostgresUrl, (url) => PgClient.layer({ url, maxConnections: 1 }))
  )
  const dump = yield* Migrations.apply().pipe(
    Effect.andThen(schemaDump),
    Effect.provide(client.pipe(Layer.provide(embedded)))
  )
  fs.writeFileSync(dumpFile, dump)
}).pipe(Effect.scoped)

if (import.meta.main) await Effect.runPromise(write)
