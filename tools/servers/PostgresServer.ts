/**
 * A durable Postgres on a data folder of ours, never the cluster that a Debian package may run by itself:
 * own port, no socket file, one superuser with a random password, one database. Postgres refuses to run as
 * root, so root lends it a user that owns little else.
 */
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql"

import { openFolder, reachable } from "../../src/layers/platform/PostgresBinaries.ts"
import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import { isRoot, lastLines, run } from "./Machine.ts"
import { findPostgres } from "./PostgresPrograms.ts"
import type { Programs } from "./PostgresPrograms.ts"
import { commandLine } from "./Process.ts"
import { during, say } from "./Progress.ts"
import { answerMillis } from "./Server.ts"
import type { Ports, Server } from "./Server.ts"
import { Trouble } from "./Trouble.ts"

const database = "cribwork"
const leftoversMillis = 10_000
const pollMillis = 100

const logFile = (home: Home) => path.join(home.dir, "postgres.log")
const passwordFile = (home: Home) => path.join(home.dir, "postgres.password")
const clientPort = (ports: Ports) => ports["client"] ?? 0

/** Data folders by version begin like this. A folder closed to others, say below /root, is closed to the lent user. */
const dataPrefix = (home: Home): string =>
  reachable(home.dir) ? path.join(home.dir, "postgres-") : path.join(openFolder(), `${home.id}-postgres-`)

interface User {
  readonly uid: number
  readonly gid: number
}

/** Debian's `postgres`, or `nobody`, who exists everywhere; whoever owns the data already comes first. */
const lentUser = (data: string): User => {
  if (fs.existsSync(data)) {
    const { uid, gid } = fs.statSync(data)
    return { uid, gid }
  }
  const row = fs
    .readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((line) => line.startsWith("postgres:"))
    ?.split(":")
  return row === undefined ? { uid: 65534, gid: 65534 } : { uid: Number(row[2]), gid: Number(row[3]) }
}

const password = (home: Home): string => {
  const file = passwordFile(home)
  if (!fs.existsSync(file)) writeWhole(file, randomBytes(18).toString("base64url"))
  return fs.readFileSync(file, "utf8")
}

/** Makes the cluster beside its place and moves it there when it is whole. */
const initialise = async (programs: Programs, data: string, secret: string, user: User | undefined) => {
  const half = `${data}.half`
  const pwfile = `${half}.password`
  fs.rmSync(half, { recursive: true, force: true })
  fs.rmSync(pwfile, { force: true })
  fs.mkdirSync(half, { recursive: true, mode: 0o700 })
  fs.writeFileSync(pwfile, secret, { mode: 0o600 })
  if (user !== undefined) for (const file of [half, pwfile]) fs.chownSync(file, user.uid, user.gid)
  const args = ["-D", half, "-U", "cribwork", "-A", "scram-sha-256", "--pwfile", pwfile, "-E", "UTF8", "--locale=C"]
  const ran = await during("initialising the cluster", () =>
    run(programs.initdb, args, user === undefined ? {} : { user })
  )
  fs.rmSync(pwfile, { force: true })
  if (ran.code !== 0) throw new Trouble(`initdb failed:\n${lastLines(ran.output)}`)
  fs.renameSync(half, data)
}

/** Processes that work in `data`, as far as we may see: after kill -9 of the first, the others need a moment to notice. */
const workersIn = (data: string): ReadonlyArray<string> =>
  process.platform !== "linux"
    ? []
    : fs.readdirSync("/proc").filter((name) => {
        try {
          return /^\d+$/.test(name) && fs.readlinkSync(`/proc/${name}/cwd`) === data
        } catch {
          return false
        }
      })

/**
 * A pid file outlives its server. When the pid has gone to another process, or to a dead one that nobody has
 * reaped, Postgres takes it for a server and refuses to start. So the file gets the one pid that Postgres
 * knows to be no server, its parent's; removing it would also skip Postgres's own look for orphans that
 * still share its memory.
 */
const clearTheWay = async (data: string) => {
  for (const end = performance.now() + leftoversMillis; workersIn(data).length > 0; await sleep(pollMillis)) {
    if (performance.now() > end) {
      throw new Trouble(`processes ${workersIn(data).join(", ")} of an earlier Postgres still work in ${data}`)
    }
  }
  const pidFile = path.join(data, "postmaster.pid")
  if (!fs.existsSync(pidFile)) return
  const [pid = "", ...rest] = fs.readFileSync(pidFile, "utf8").split("\n")
  if (commandLine(Number.parseInt(pid, 10)).includes(data)) return
  fs.writeFileSync(pidFile, [process.pid, ...rest].join("\n"))
}

const urlOf = (home: Home, ports: Ports, name: string) =>
  `postgres://cribwork:${password(home)}@127.0.0.1:${clientPort(ports)}/${name}`

const query = <A>(url: string, ask: (sql: SqlClient.SqlClient) => Effect.Effect<A, SqlError.SqlError>): Promise<A> =>
  Effect.runPromise(
    SqlClient.SqlClient.use(ask).pipe(
      Effect.provide(
        PgClient.layer({ url: Redacted.make(url), maxConnections: 1, connectTimeout: `${answerMillis} millis` })
      ),
      Effect.timeout(`${answerMillis} millis`)
    )
  )

const ensureDatabase = (sql: SqlClient.SqlClient) =>
  Effect.gen(function* () {
    const there = yield* sql`select 1 from pg_database where datname = ${database}`
    if (there.length === 0) yield* sql.unsafe(`create database ${database}`).unprepared
  })

export const postgresServer: Server = {
  name: "postgres",
  variable: "DATABASE_URL",
  roles: ["client"],
  processes: 1,
  politeSignal: "SIGINT",
  graceMillis: 30_000,
  startMillis: 120_000,
  logFile,
  owns: (home, _, line) => {
    const [program = "", ...rest] = line.split(" ")
    return path.basename(program) === "postgres" && rest.join(" ").startsWith(`-D ${dataPrefix(home)}`)
  },
  prepare: async (home, ports) => {
    const programs = await findPostgres()
    const data = `${dataPrefix(home)}${programs.major}`
    const user = isRoot ? lentUser(data) : undefined
    if (!fs.existsSync(path.join(data, "PG_VERSION"))) {
      if (!data.startsWith(home.dir)) say(`  ${home.dir} is closed to the user that runs Postgres: data is in ${data}`)
      await initialise(programs, data, password(home), user)
    }
    await clearTheWay(data)
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
    return [
      {
        argv: [
          programs.postgres,
          "-D",
          data,
          "-p",
          String(clientPort(ports)),
          ...settings.flatMap((setting) => ["-c", setting])
        ],
        log: logFile(home),
        ...(user === undefined ? {} : { user })
      }
    ]
  },
  url: (home, ports) => urlOf(home, ports, database),
  ask: async (home, ports) => {
    await query(urlOf(home, ports, "postgres"), ensureDatabase)
    await query(urlOf(home, ports, database), (sql) => sql`select 1`)
  },
  notes: () => []
}
