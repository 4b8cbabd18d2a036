/** Breaks the embedded Postgres in every way a machine does. One folder is made once and broken again and again. */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"

import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Fiber, Layer, Logger, Redacted, Schedule } from "effect"
import { SqlClient } from "effect/sql"

import * as EmbeddedPostgres from "../../src/layers/platform/EmbeddedPostgres.ts"
import { postgresBinaries, spawnOptions } from "../../src/layers/platform/PostgresBinaries.ts"
import * as PostgresFolder from "../../src/layers/platform/PostgresFolder.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"

const base = fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-embedded-"))
fs.chmodSync(base, 0o755)
const searchPath = process.env["PATH"]
const data = path.join(base, "postgres")
const pidFile = path.join(data, "postmaster.pid")
afterAll(() => fs.rmSync(base, { recursive: true, force: true }))

/** The URL of a server that lives as long as the scope. */
const started = (options: { readonly fresh?: boolean; readonly folder?: string } = {}) =>
  Layer.build(
    Layer.fresh(EmbeddedPostgres.layer({ fresh: options.fresh ?? false, durable: false })).pipe(
      Layer.provide([Settings.layer, Logger.layer([])]),
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ CRIBWORK_DATA: options.folder ?? base })))
    )
  ).pipe(Effect.map((context) => Context.get(context, EmbeddedPostgres.PostgresUrl)))

const query = (url: Redacted.Redacted, statement: string) =>
  SqlClient.SqlClient.use((sql) => sql.unsafe(statement)).pipe(
    Effect.provide(PgClient.layer({ url, maxConnections: 1, connectTimeout: "5 seconds" }))
  )

/** The living server of our folder. */
const postmaster = (): number => {
  const pid = PostgresFolder.postmaster(data)
  if (pid === undefined) throw new Error("no server runs")
  return pid
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const until = (claim: () => boolean) =>
  Effect.sync(claim).pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("10 millis") }),
    Effect.timeout("20 seconds")
  )

const freePort = Effect.promise(async () => {
  const probe = createServer().listen(0, "127.0.0.1")
  await once(probe, "listening")
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, "close")
  return port
})

const child = (process: ChildProcess) =>
  Effect.acquireRelease(Effect.succeed(process), () => Effect.sync(() => process.kill("SIGKILL")))

/** A program of its own that runs the embedded Postgres on our folder. */
const owner = Effect.gen(function* () {
  const source = new URL("../../src/layers/platform/", import.meta.url).href
  const program = yield* child(
    spawn(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `import { Effect, Layer, Redacted } from "effect"
         import * as EmbeddedPostgres from "${source}EmbeddedPostgres.ts"
         import * as Settings from "${source}Settings.ts"
         EmbeddedPostgres.PostgresUrl.pipe(
           Effect.tap((url) => Effect.sync(() => process.stdout.write(Redacted.value(url) + "\\n"))),
           Effect.andThen(Effect.never),
           Effect.provide(EmbeddedPostgres.layer({ fresh: false, durable: false }).pipe(Layer.provide(Settings.layer))),
           Effect.runPromise)`
      ],
      { env: { PATH: searchPath, CRIBWORK_DATA: base }, stdio: ["ignore", "pipe", "inherit"] }
    )
  )
  const lines = createInterface({ input: program.stdout as NodeJS.ReadableStream })
  const [url] = (yield* Effect.promise(() => once(lines, "line"))) as [string]
  return { program, url: Redacted.make(url) }
})

describe("EmbeddedPostgres", () => {
  it.live("starts where initdb was cut off half way", () =>
    Effect.gen(function* () {
      fs.mkdirSync(`${data}.half/base`, { recursive: true })
      fs.writeFileSync(`${data}.half/PG_VERSION`, "18\n")
      fs.mkdirSync(data)
      const url = yield* started()
      yield* query(url, "create table kept (n int)")
      assert.isFalse(fs.existsSync(`${data}.half`))
    }).pipe(Effect.scoped)
  )

  it.live("keeps its rows when its owner is killed, and no server is left behind", () =>
    Effect.gen(function* () {
      const { program, url } = yield* owner
      yield* query(url, "insert into kept values (1), (2)")
      const server = postmaster()
      assert.isTrue(isAlive(server))
      program.kill("SIGKILL")
      yield* until(() => !isAlive(server))
      assert.deepStrictEqual(yield* query(yield* started(), "select n from kept"), [{ n: 1 }, { n: 2 }])
    }).pipe(Effect.scoped)
  )

  it.live("leaves no server behind when its owner stops, and its claim on the folder neither", () =>
    Effect.gen(function* () {
      const server = yield* Effect.scoped(Effect.map(started(), postmaster))
      assert.isFalse(isAlive(server))
      assert.isFalse(fs.existsSync(path.join(base, "postgres.owner")))
    })
  )

  it.live(
    "comes back on the same port after a kill of the server in the middle of traffic, nothing told being lost",
    () =>
      Effect.gen(function* () {
        const url = yield* started()
        const context = yield* Layer.build(PgClient.layer({ url, maxConnections: 4, connectTimeout: "1 second" }))
        const sql = Context.get(context, SqlClient.SqlClient)
        yield* sql`create table if not exists told (n int primary key)`
        const told: Array<number> = []
        let next = 0
        const client = Effect.suspend(() => {
          const n = next++
          return Effect.map(sql`insert into told values (${n})`, () => void told.push(n))
        }).pipe(Effect.retry(Schedule.spaced("10 millis")), Effect.forever)
        const traffic = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 4 }, () => client),
            { concurrency: 4 }
          )
        )
        for (let kills = 0; kills < 2; kills++) {
          const before = told.length
          yield* until(() => told.length > before + 50)
          const killed = postmaster()
          process.kill(killed, "SIGKILL")
          // Backends may answer a little longer than their postmaster lives.
          yield* until(() => ![undefined, killed].includes(PostgresFolder.postmaster(data)))
          const after = told.length
          yield* until(() => told.length > after + 50)
        }
        yield* Fiber.interrupt(traffic)
        const rows = yield* Effect.retry(sql<{ n: number }>`select n from told`, { times: 10 })
        const there = new Set(rows.map((row) => row.n))
        assert.deepStrictEqual(
          told.filter((n) => !there.has(n)),
          []
        )
      }).pipe(Effect.scoped)
  )

  it.live("is not stopped by a pid file that names a stranger, and does the stranger no harm", () =>
    Effect.gen(function* () {
      const stranger = yield* child(spawn("sleep", ["60"], spawnOptions))
      fs.writeFileSync(pidFile, `${stranger.pid}\n${data}\n1\n1\n\n127.0.0.1\n\nready\n`)
      yield* query(yield* started(), "select 1")
      assert.isNull(stranger.exitCode)
      assert.isNull(stranger.signalCode)
    }).pipe(Effect.scoped)
  )

  it.live("refuses a folder that another living process uses, naming it, and leaves its server alone", () =>
    Effect.gen(function* () {
      const { program, url } = yield* owner
      const refused = yield* Effect.flip(started({ fresh: true }))
      assert.include(refused.message, `process ${program.pid} runs on it`)
      yield* query(url, "select 1 from kept")
    }).pipe(Effect.scoped)
  )

  it.live("shows the end of its log when it cannot start, and starts once that is mended", () =>
    Effect.gen(function* () {
      const settings = path.join(data, "postgresql.auto.conf")
      fs.writeFileSync(settings, "shared_buffers = nonsense\n")
      const failed = yield* Effect.flip(Effect.scoped(started()))
      assert.include(failed.message, "could not become ready: it ended with:")
      assert.include(failed.message, `invalid value for parameter "shared_buffers": "nonsense"`)
      fs.writeFileSync(settings, "")
      yield* query(yield* started(), "select 1")
    }).pipe(Effect.scoped)
  )

  it.live("refuses data of another version, and wipes everything when it is told to start afresh", () =>
    Effect.gen(function* () {
      const version = path.join(data, "PG_VERSION")
      fs.writeFileSync(version, "17\n")
      const refused = yield* Effect.flip(Effect.scoped(started()))
      assert.include(refused.message, "it is Postgres 17's, and this is Postgres 18; start with --fresh")
      const url = yield* started({ fresh: true })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(query(url, "select 1 from kept"))))
    }).pipe(Effect.scoped)
  )

  it.live.each([false, true])("stops a server that an earlier start left without an owner, afresh: %s", (fresh) =>
    Effect.gen(function* () {
      const { postgres } = yield* postgresBinaries
      const orphan = yield* child(
        spawn(
          postgres,
          [
            "-D",
            data,
            "-p",
            String(yield* freePort),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories="
          ],
          { ...spawnOptions, stdio: "ignore" }
        )
      )
      yield* until(() => PostgresFolder.isReady(data))
      yield* query(yield* started({ fresh }), "select 1")
      assert.isNotNull(orphan.exitCode)
    }).pipe(Effect.scoped)
  )
})
