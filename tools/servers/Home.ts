/**
 * Where things live. What many checkouts share (jars, the class archive) and what one checkout's servers
 * keep (data, logs, the record of ports and pids) are under the user's cache directory, outside of git and
 * out of reach of whatever wipes `.cribwork`; only the env file is written into the checkout.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

export interface Home {
  /** The checkout whose servers these are. */
  readonly checkout: string
  /** Shared between checkouts; nothing in it changes once it is there. */
  readonly cache: string
  /** This checkout's own. */
  readonly dir: string
  /** Different for each checkout; also where its ports begin. */
  readonly id: string
  readonly envFile: string
}

/** By the XDG rule a relative path counts as unset. */
export const cacheRoot = (env: Readonly<Record<string, string | undefined>>, home: string): string => {
  const given = env["XDG_CACHE_HOME"] ?? ""
  return path.join(path.isAbsolute(given) ? given : path.join(home, ".cache"), "cribwork")
}

export const homeOf = (checkout: string, cache: string): Home => {
  const id = createHash("sha256").update(checkout).digest("hex").slice(0, 12)
  return {
    checkout,
    cache,
    dir: path.join(cache, "servers", id),
    id,
    envFile: path.join(checkout, ".cribwork", "servers.env")
  }
}

export const openHome = (): Home => {
  const checkout = fs.realpathSync(new URL("../..", import.meta.url).pathname)
  const home = homeOf(checkout, cacheRoot(process.env, os.homedir()))
  fs.mkdirSync(home.dir, { recursive: true })
  return home
}

/** Puts `text` in place at once or not at all, readable by its owner only. */
export const writeWhole = (file: string, text: string): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  const half = `${file}.${process.pid}`
  fs.writeFileSync(half, text, { mode: 0o600 })
  fs.renameSync(half, file)
}
