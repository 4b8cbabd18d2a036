import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"

import * as Migrations from "../../src/layers/platform/Migrations.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import { appRole } from "../../src/layers/platform/Postgres.ts"
import { emptyDatabase, settings } from "../Postgres.ts"

/** A folder of migrations that lives as long as the test. */
const folder = (files: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-migrations-"))
      write(directory, files)
      return directory
    }),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
  )

const write = (directory: string, files: Readonly<Record<string, string>>) => {
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(directory, name), text)
}

const owner = Layer.unwrap(Effect.map(emptyDatabase, (url) => PgClient.layer({ url, maxConnections: 3 })))

const onEmptyDatabase = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(Effect.scoped(effect), owner)

const reason = <A, R>(effect: Effect.Effect<A, Migrations.MigrationsError | { readonly _tag: "SqlError" }, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    if (error._tag !== "MigrationsError") throw new Error("not a refusal", { cause: error })
    return { tag: error.reason._tag, message: error.message }
  })

const two = {
  "0001_notes.sql": "create table notes (id int);\ncreate function f() returns int language sql as $$ select 1 $$;",
  "0002_more.sql": "insert into notes values (f());\ninsert into notes select f() + 1;",
  "schema.dump.sql": "this is no migration"
}

describe("Migrations", () => {
  it.live("applies every file once, in order, many statements a file", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const directory = yield* folder(two)
        assert.deepStrictEqual(yield* Migrations.apply({ directory }), ["0001_notes.sql", "0002_more.sql"])
        assert.deepStrictEqual(yield* Migrations.apply({ directory }), [])
        write(directory, { "0007_last.sql": "insert into notes values (7)" })
        assert.deepStrictEqual(yield* Migrations.apply({ directory }), ["0007_last.sql"])
        assert.deepStrictEqual(yield* sql`select id from notes`, [{ id: 1 }, { id: 2 }, { id: 7 }])
        yield* Migrations.verify({ directory })
      })
    )
  )

  it.live("a file that fails is named with its line, and nothing of that run is kept", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const directory = yield* folder({ ...two, "0003_bad.sql": "select 1;\n\nselect nothing from nowhere;" })
        const { tag, message } = yield* reason(Migrations.apply({ directory }))
        assert.strictEqual(tag, "MigrationFailed")
        assert.include(message, `migrations/0003_bad.sql:3 failed, nothing was applied: relation "nowhere" does not`)
        assert.deepStrictEqual(yield* sql`select to_regclass('notes')::text as notes`, [{ notes: null }])
      })
    )
  )

  it.live("no file can end the transaction that it is part of", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const directory = yield* folder({ "0001_commit.sql": "create table notes (id int); commit; select 1/0" })
        assert.strictEqual((yield* reason(Migrations.apply({ directory }))).tag, "MigrationFailed")
        const sql = yield* SqlClient.SqlClient
        assert.deepStrictEqual(yield* sql`select to_regclass('notes')::text as notes`, [{ notes: null }])
      })
    )
  )

  it.live("an old file that was edited, removed, or slipped in stops apply and verify, naming it", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const directory = yield* folder({ ...two, "0004_last.sql": "select 4" })
        yield* Migrations.apply({ directory })
        for (const [tag, name, change, undo] of [
          ["MigrationEdited", "0002_more.sql", "-- edited", two["0002_more.sql"]],
          ["MigrationMissing", "0001_notes.sql", undefined, two["0001_notes.sql"]],
          ["MigrationOutOfOrder", "0003_late.sql", "select 3", undefined],
          ["DatabaseNewer", "0004_last.sql", undefined, "select 4"]
        ] as const) {
          const put = (text: string | undefined) =>
            text === undefined ? fs.rmSync(path.join(directory, name)) : write(directory, { [name]: text })
          put(change)
          for (const refused of [
            yield* reason(Migrations.apply({ directory })),
            yield* reason(Migrations.verify({ directory }))
          ]) {
            assert.strictEqual(refused.tag, tag)
            assert.include(refused.message, name)
          }
          put(undo)
        }
        yield* Migrations.verify({ directory })
      })
    )
  )

  it.live("verify says what to run when files are pending, on an empty database too", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const directory = yield* folder(two)
        const refused = yield* reason(Migrations.verify({ directory }))
        assert.strictEqual(refused.tag, "MigrationsPending")
        assert.include(refused.message, "lacks 2 migrations, the first is 0001_notes.sql: run `cribwork migrate`.")
      })
    )
  )

  it.live("of eight concurrent starts one applies and all succeed", () =>
    Effect.gen(function* () {
      const url = yield* emptyDatabase
      const directory = yield* folder(two)
      const applied = yield* Effect.all(
        Array.from({ length: 8 }, () =>
          Migrations.apply({ directory }).pipe(Effect.provide(PgClient.layer({ url, maxConnections: 1 })))
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(applied.map((files) => files.length).toSorted(), [0, 0, 0, 0, 0, 0, 0, 2])
    }).pipe(Effect.scoped)
  )

  it.live("a start waits for another one that migrates, but not for ever", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const directory = yield* folder(two)
        // A start that hangs in the middle of its work.
        const hangs = yield* folder({ "0001_hangs.sql": "select pg_sleep(60)" })
        yield* Effect.forkScoped(Migrations.apply({ directory: hangs }))
        yield* Effect.repeat(
          sql<{ held: boolean }>`select exists (select from pg_locks where locktype = 'advisory'
          and database = (select oid from pg_database where datname = current_database())) as held`,
          {
            until: ([row]) => row?.held === true
          }
        )
        const lockWait = Duration.millis(50)
        const refused = yield* reason(Migrations.apply({ directory, lockWait }))
        assert.deepInclude(refused, { tag: "MigrationsBusy" })
        assert.include(refused.message, "for 50ms")
      })
    )
  )

  it.live("programs may check the history and not change it", () =>
    onEmptyDatabase(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* Migrations.apply()
        const asProgram = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          sql.withTransaction(Effect.andThen(sql.unsafe(`set local role ${appRole}`), effect))
        yield* asProgram(Migrations.verify())
        for (const change of ["delete from migrations", "update migrations set checksum = ''"]) {
          const refused = yield* Effect.flip(asProgram(sql.unsafe(change)))
          assert.strictEqual(refused.reason._tag, "AuthorizationError")
        }
      })
    )
  )

  it.live("an owner who is no superuser migrates, and programs may use the same URL", () =>
    Effect.gen(function* () {
      const url = Redacted.value(yield* emptyDatabase)
      const name = `owner_${process.pid}`
      const owned = new URL(url)
      owned.username = name
      yield* Effect.acquireRelease(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const database = sql(owned.pathname.slice(1))
          yield* sql`create role ${sql(name)} login createrole password ${sql.literal(`'${owned.password}'`)}`
          // What Postgres gives to the creator of a role; here it is there already.
          yield* sql`grant cribwork_app to ${sql(name)} with admin true, set false, inherit false`
          yield* sql`alter database ${database} owner to ${sql(name)}`
        }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 }))),
        () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            yield* sql`reassign owned by ${sql(name)} to current_user`
            yield* sql`drop owned by ${sql(name)}`
            yield* sql`drop role ${sql(name)}`
          }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), Effect.orDie)
      )
      const theirs = Redacted.make(owned.href)
      yield* Migrations.apply().pipe(Effect.provide(PgClient.layer({ url: theirs, maxConnections: 1 })))
      const who = yield* SqlClient.SqlClient.use((sql) => sql`select current_user::text as who`).pipe(
        Effect.provide(Postgres.layer(theirs).pipe(Layer.provide(settings)))
      )
      assert.deepStrictEqual(who, [{ who: appRole }])
    }).pipe(Effect.scoped)
  )
})
