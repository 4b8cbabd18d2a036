/** `cribwork keys` on a real Postgres: a test's own by DATABASE_URL, and that of a suite which runs beside it. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"

import { emptyDatabase, migratedDatabase } from "../Postgres.ts"
import { root } from "../support/Run.ts"
import { cribwork, parsed } from "./Command.ts"

const database = Effect.map(migratedDatabase, (url) => ({ DATABASE_URL: Redacted.value(url) }))
const ada = ["keys", "create", "--tenant", "acme", "--user", "ada"]
const token = /^cw_([0-9a-f]{16})_[0-9a-f]{64}\n$/

const scratchFolder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-cli-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

describe("cribwork keys", () => {
  it.live("makes a key whose token is all of its answer, lists it without, and revokes it", () =>
    Effect.gen(function* () {
      const env = yield* database
      const made = yield* cribwork([...ada, "--scope", "charges:write", "--scope", "charges:read"], env)
      assert.strictEqual(made.code, 0)
      assert.match(made.stdout, token)
      const id = token.exec(made.stdout)?.[1] ?? ""
      const secret = made.stdout.trim().split("_")[2] ?? ""
      assert.include(made.stderr, `Key ${id} of acme, ada: charges:read charges:write; plan generous.`)
      assert.notInclude(made.stderr, secret)

      const listed = yield* cribwork(["keys", "list"], env)
      assert.deepStrictEqual([listed.code, listed.stderr], [0, ""])
      assert.match(listed.stdout, /^ID +TENANT +USER +PLAN +OPERATOR +CREATED +REVOKED +SCOPES\n/)
      assert.match(listed.stdout, new RegExp(`^${id} +acme +ada +generous +no +\\S+ \\S+ UTC +no +charges:read`, "m"))
      assert.notInclude(listed.stdout, secret)

      const revoked = yield* cribwork(["keys", "revoke", id, "--reason", "left", "--json"], env)
      assert.strictEqual(revoked.code, 0)
      assert.isString(parsed(revoked.stdout)["revoked_at"])
      const { data } = parsed((yield* cribwork(["keys", "list", "--json"], env)).stdout)
      assert.deepInclude((data as ReadonlyArray<object>)[0], { id, plan: "generous", operator: false })
      const acts = yield* SqlClient.SqlClient.use(
        (sql) => sql`select actor, action, why from audit_entries order by id`
      ).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(env.DATABASE_URL), maxConnections: 1 })))
      const actor = `cli:${os.userInfo().username}`
      assert.deepStrictEqual(acts, [
        { actor, action: "keys.create", why: "made at the command line" },
        { actor, action: "keys.revoke", why: "left" }
      ])
    }).pipe(Effect.scoped)
  )

  it.live("gives admin scopes to operators' keys alone", () =>
    Effect.gen(function* () {
      const env = yield* database
      const admin = [...ada, "--scope", "payments:admin", "--json"]
      const refused = yield* cribwork(admin, env)
      assert.deepStrictEqual([refused.code, refused.stdout], [4, ""])
      assert.deepInclude(parsed(refused.stderr), { error: "operator-only", exit_code: 4 })
      const made = yield* cribwork([...admin, "--operator", "--plan", "small"], env)
      assert.deepInclude(parsed(made.stdout), { plan: "small", operator: true, scopes: ["payments:admin"] })
      assert.deepStrictEqual([made.code, made.stderr], [0, ""])
    }).pipe(Effect.scoped)
  )

  it.live("says which key is none, and what is no id", () =>
    Effect.gen(function* () {
      const env = yield* database
      const missing = yield* cribwork(["keys", "revoke", "0123456789abcdef", "--reason", "x"], env)
      assert.deepStrictEqual([missing.code, missing.stderr], [3, "cribwork: There is no key 0123456789abcdef.\n"])
      assert.strictEqual((yield* cribwork(["keys", "revoke", "0123", "--reason", "x"], env)).code, 2)
      assert.strictEqual((yield* cribwork([...ada, "--scope", "everything"], env)).code, 2)
    }).pipe(Effect.scoped)
  )

  it.live("says what to do when there is no database, or one that cannot be used", () =>
    Effect.gen(function* () {
      const none = yield* cribwork(["keys", "list"], { CRIBWORK_DATA: yield* scratchFolder })
      assert.strictEqual(none.code, 2)
      assert.include(none.stderr, "Leave `npm start` running in another terminal, or set DATABASE_URL.")

      const url = "postgres://ada:hunter2@127.0.0.1:1000/x"
      const deaf = yield* cribwork(["keys", "list"], { DATABASE_URL: url })
      assert.strictEqual(deaf.code, 5)
      assert.match(deaf.stderr, /^cribwork: The database at 127\.0\.0\.1:1000 cannot be used: /)
      assert.notInclude(deaf.stderr, "hunter2")

      const empty = yield* cribwork(["keys", "list"], { DATABASE_URL: Redacted.value(yield* emptyDatabase) })
      assert.strictEqual(empty.code, 1)
      assert.include(empty.stderr, "run `cribwork migrate`")
    }).pipe(Effect.scoped)
  )

  it.live("works beside a suite that somebody only started", () =>
    Effect.gen(function* () {
      const folder = yield* scratchFolder
      fs.chmodSync(folder, 0o755)
      const { PATH } = process.env
      const suite = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [`${root}src/programs/suite.ts`], {
            env: { PATH, PORT: "0", CRIBWORK_DATA: folder, TWIN_FILE: path.join(folder, "twin.jsonl") },
            stdio: ["ignore", "pipe", "inherit"]
          })
        ),
        (suite) =>
          Effect.promise(async () => {
            if (suite.exitCode !== null) return
            suite.kill("SIGTERM")
            await once(suite, "exit")
          })
      )
      yield* Effect.promise(async () => {
        for await (const chunk of suite.stdout) if (String(chunk).includes("dev.env")) break
      })
      const dev = Object.fromEntries(
        [...fs.readFileSync(path.join(folder, "dev.env"), "utf8").matchAll(/^export (\w+)='([^']*)'$/gm)].map(
          ([, name, value]) => [name, value ?? ""]
        )
      ) as Record<string, string>
      const made = yield* cribwork([...ada, "--scope", "charges:read"], { CRIBWORK_DATA: folder })
      assert.strictEqual(made.code, 0, made.stderr)
      const show = ["payments", "show", "00000000-0000-4000-8000-000000000000"]
      const opened = yield* cribwork(show, { ...dev, CRIBWORK_API_KEY: made.stdout.trim() })
      assert.include(opened.stderr, "No such charge")
      const letters = yield* cribwork(["payments", "dlq", "list", "--json"], dev)
      assert.deepStrictEqual(parsed(letters.stdout), { data: [], next_cursor: null })
    }).pipe(Effect.scoped)
  )
})
