/**
 * The folder of the embedded Postgres: made in one step or not at all, claimed by one process at a time, and
 * cleared of what a crash left: a server without an owner, or a pid file that names somebody else.
 */
import { execFile } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import { promisify } from "node:util"

import { Effect, Schedule } from "effect"

import { EmbeddedPostgresError, failedAt } from "./EmbeddedPostgresError.ts"
import { folderClaim } from "./FolderClaim.ts"
import { handOver, openFolder, reachable, spawnOptions } from "./PostgresBinaries.ts"
import type { PostgresBinaries } from "./PostgresBinaries.ts"
import { runsWith } from "./ProcessTable.ts"

export interface PostgresFolder {
  /** What `-D` gets. */
  readonly data: string
  readonly log: string
  readonly password: string
}

/** The version whose data we can read, as in the file PG_VERSION. */
const major = "18"
/** A log longer than this is set aside when a program starts; one older log is kept. */
const logBytesMax = 4 * 1024 * 1024
/** How long a server without an owner gets to leave: by itself or asked, and then to be gone when killed. */
const leaveMax = { asked: "10 seconds", killed: "5 seconds" } as const

/** In a folder closed to others Postgres could not read its own data, so that lies elsewhere, under the folder's name. */
const dataOf = (base: string): string => {
  const name = createHash("sha256").update(base).digest("hex").slice(0, 12)
  return reachable(base) ? path.join(base, "postgres") : path.join(openFolder(), name)
}

const passwordOf = (data: string) => path.join(data, "cribwork.password")

/** Open until the scope closes. `fresh` wipes what was there; not `durable` trades a power cut for speed. */
export const postgresFolder = Effect.fnUntraced(function* (
  bin: PostgresBinaries,
  dataDir: string,
  { fresh, durable }: { readonly fresh: boolean; readonly durable: boolean }
) {
  const base = path.resolve(dataDir)
  const data = yield* Effect.try({
    try: () => {
      fs.mkdirSync(base, { recursive: true, mode: 0o755 })
      return dataOf(base)
    },
    catch: failedAt("use its folder")
  })
  if (!data.startsWith(base))
    yield* Effect.logInfo(`${base} is closed to others, so Postgres keeps its data in ${data}`)
  yield* Effect.mapError(
    folderClaim(path.join(base, "postgres.owner")),
    ({ pid }) =>
      new EmbeddedPostgresError({
        step: `use ${base}`,
        detail: `process ${pid} runs on it. Stop that one, or set CRIBWORK_DATA to another folder.`
      })
  )
  yield* clear(data)
  if (fresh) yield* Effect.sync(() => fs.rmSync(data, { recursive: true, force: true }))
  yield* Effect.tryPromise({ try: () => initialise(bin, data, durable), catch: failedAt(`make ${data}`) })
  const log = path.join(base, "postgres.log")
  const password = yield* Effect.try({
    try: () => {
      if (fs.existsSync(log) && fs.statSync(log).size > logBytesMax) fs.renameSync(log, `${log}.old`)
      return fs.readFileSync(passwordOf(data), "utf8")
    },
    catch: failedAt(`read ${data}`)
  })
  return { data, log, password } satisfies PostgresFolder
})

const initialise = async (bin: PostgresBinaries, data: string, durable: boolean): Promise<void> => {
  const version = path.join(data, "PG_VERSION")
  if (fs.existsSync(version)) {
    const found = fs.readFileSync(version, "utf8").trim()
    if (found === major) return
    throw new Error(
      `it is Postgres ${found}'s, and this is Postgres ${major}; start with --fresh to lose what is in it`
    )
  }
  const half = `${data}.half`
  const secret = `${half}.password`
  fs.rmSync(data, { recursive: true, force: true })
  fs.rmSync(half, { recursive: true, force: true })
  fs.mkdirSync(half, { recursive: true, mode: 0o700 })
  fs.writeFileSync(secret, randomBytes(18).toString("base64url"), { mode: 0o600 })
  handOver(half)
  handOver(secret)
  const options = ["-U", "cribwork", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale=C"]
  await promisify(execFile)(bin.initdb, ["-D", half, ...options, ...(durable ? [] : ["--no-sync"])], spawnOptions)
  fs.renameSync(secret, passwordOf(half))
  fs.renameSync(half, data)
}

const pidFile = (data: string) => path.join(data, "postmaster.pid")

/** The lines of the pid file; none when there is none. */
const pidLines = (data: string): ReadonlyArray<string> => {
  try {
    return fs.readFileSync(pidFile(data), "utf8").split("\n")
  } catch {
    return []
  }
}

/** The postmaster that serves this folder, whatever the pid file says of the dead. */
export const postmaster = (data: string): number | undefined => {
  const pid = Number(pidLines(data)[0])
  return pid > 0 && runsWith(pid, data) ? pid : undefined
}

/** Has it said that it takes connections? */
export const isReady = (data: string): boolean =>
  postmaster(data) !== undefined && pidLines(data)[7]?.trim() === "ready"

/** How to reach the server that another process of ours runs on this folder; undefined when none takes connections. */
export const served = (dataDir: string): { readonly port: number; readonly password: string } | undefined => {
  try {
    const data = dataOf(path.resolve(dataDir))
    if (!isReady(data)) return undefined
    return { port: Number(pidLines(data)[3]), password: fs.readFileSync(passwordOf(data), "utf8") }
  } catch {
    return undefined
  }
}

/**
 * Nobody serves this folder afterwards, and no pid file names a stranger, for which Postgres would refuse to
 * start. A file that names nobody stays: Postgres looks there for backends that outlived their postmaster.
 */
export const clear = (data: string): Effect.Effect<void, EmbeddedPostgresError> => {
  const gone = Effect.suspend(() => (postmaster(data) === undefined ? Effect.void : Effect.fail("there" as const)))
  const leaves = (signal: NodeJS.Signals, within: "10 seconds" | "5 seconds") =>
    Effect.andThen(
      Effect.sync(() => send(postmaster(data), signal)),
      Effect.retry(gone, Schedule.upTo(Schedule.spaced("20 millis"), { duration: within }))
    )
  return leaves("SIGINT", leaveMax.asked).pipe(
    Effect.catch(() => leaves("SIGKILL", leaveMax.killed)),
    Effect.mapError(
      () =>
        new EmbeddedPostgresError({
          step: `have ${data} to itself`,
          detail: `a server of an earlier start, process ${postmaster(data)}, does not stop. End it and start again.`
        })
    ),
    Effect.andThen(
      Effect.sync(() => {
        const pid = Number(pidLines(data)[0])
        if (pid > 0 && send(pid, 0)) fs.rmSync(pidFile(data), { force: true })
      })
    )
  )
}

/** False when there is no such process; true also when it is somebody else's. */
const send = (pid: number | undefined, signal: NodeJS.Signals | 0): boolean => {
  if (pid === undefined) return false
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}
