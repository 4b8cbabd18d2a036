/**
 * Which Postgres runs here: the newest that Debian's packages or the PATH offer, so that the suite meets
 * what people really have; else, as root on Debian, the package is installed; else the binaries that npm
 * brought for the embedded stack.
 */
import * as fs from "node:fs"
import * as path from "node:path"

import { Effect } from "effect"

import { postgresBinaries } from "../../src/layers/platform/PostgresBinaries.ts"
import { canInstall, install, run, which } from "./Machine.ts"
import { say } from "./Progress.ts"
import { textOf, Trouble } from "./Trouble.ts"

export interface Programs {
  readonly initdb: string
  readonly postgres: string
  /** Data of one major version cannot be opened by another. */
  readonly major: number
}

const debianFolder = "/usr/lib/postgresql"

/** The major version, from what `postgres --version` prints. */
export const majorVersion = (output: string): number | undefined => {
  const found = /\(PostgreSQL\) (\d+)/.exec(output)?.[1]
  return found === undefined ? undefined : Number(found)
}

/** A folder of programs, if it can make and run a cluster. */
const programsIn = async (folder: string): Promise<Programs | undefined> => {
  const [initdb, postgres] = [path.join(folder, "initdb"), path.join(folder, "postgres")]
  if (!fs.existsSync(initdb) || !fs.existsSync(postgres)) return undefined
  const major = majorVersion((await run(postgres, ["--version"])).output)
  return major === undefined ? undefined : { initdb, postgres, major }
}

const installed = async (): Promise<Programs | undefined> => {
  const versions = fs.existsSync(debianFolder) ? fs.readdirSync(debianFolder) : []
  const onPath = which("initdb")
  const folders = [
    ...versions.toSorted((a, b) => Number(b) - Number(a)).map((version) => path.join(debianFolder, version, "bin")),
    ...(onPath === undefined ? [] : [path.dirname(fs.realpathSync(onPath))])
  ]
  for (const folder of folders) {
    const found = await programsIn(folder)
    if (found !== undefined) return found
  }
  return undefined
}

const embedded = async (why: string): Promise<Programs> => {
  try {
    const { initdb, postgres } = await Effect.runPromise(postgresBinaries)
    const found = await programsIn(path.dirname(postgres))
    if (found !== undefined) {
      say(`  ${why}; using Postgres ${found.major} from node_modules`)
      return { ...found, initdb, postgres }
    }
  } catch (error) {
    throw new Trouble(
      `${why}, and node_modules has no Postgres for this platform (${textOf(error)}). As root: apt-get install postgresql (macOS: brew install postgresql).`
    )
  }
  throw new Trouble(`${why}, and the Postgres in node_modules does not run here`)
}

export const findPostgres = async (): Promise<Programs> => {
  const found = await installed()
  if (found !== undefined) return found
  if (!canInstall()) return embedded("no Postgres is installed on this machine")
  try {
    await install("postgresql")
  } catch (error) {
    say(`  ${textOf(error)}`)
    return embedded("Debian's Postgres cannot be installed")
  }
  return (await installed()) ?? embedded("Debian's package brought no server")
}
