/** A whole house of its own, as `npm start` brings it up: one folder, free ports, and what `dev.env` says of it. */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

import { type Environment, Program } from "./Program.ts"

/** A folder that the embedded Postgres can use also when root hands it to another user. */
export const newFolder = (): string => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-house-"))
  fs.chmodSync(folder, 0o755)
  return folder
}

/** Everything of the house is in this folder, so that it can be found and removed. */
export const homeIn = (folder: string): Environment => ({
  PORT: "0",
  CRIBWORK_DATA: `${folder}/.cribwork`,
  TWIN_FILE: `${folder}/twin.jsonl`
})

export const devEnv = (folder: string): string => `${folder}/.cribwork/dev.env`

export interface Keys {
  readonly url: string
  readonly apiKey: string
  readonly twinUrl: string
  readonly twinToken: string
}

/** What a shell knows after `source .cribwork/dev.env`. */
export const sourced = (folder: string): Keys => {
  const text = execFileSync("/bin/sh", ["-c", `. "$1" && env`, "sh", devEnv(folder)], { encoding: "utf8", env: {} })
  const of = (name: string) => new RegExp(`^${name}=(.+)$`, "m").exec(text)?.[1] ?? ""
  return {
    url: of("CRIBWORK_URL"),
    apiKey: of("CRIBWORK_API_KEY"),
    twinUrl: of("CRIBWORK_TWIN_URL"),
    twinToken: of("CRIBWORK_TWIN_TOKEN")
  }
}

export const startSuite = (folder: string, env: Environment = {}, args: ReadonlyArray<string> = []): Program =>
  new Program("suite", { ...homeIn(folder), ...env }, args)

export const isUp = async (suite: Program): Promise<void> => {
  await suite.hears(/Cribwork is up at (\S+)[\s\S]*application\/json" -d/)
}

/** The embedded Postgres of a running house, as the owner of everything in it. */
export const databaseOf = (folder: string): string => {
  const data = `${folder}/.cribwork/postgres`
  const port = fs.readFileSync(`${data}/postmaster.pid`, "utf8").split("\n")[3] ?? ""
  const password = fs.readFileSync(`${data}/cribwork.password`, "utf8")
  return `postgres://cribwork:${password}@127.0.0.1:${port}/postgres`
}
