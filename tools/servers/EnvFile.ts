/** `.cribwork/servers.env`: what a shell must know to reach the servers that are up, and nothing of the others. */
import * as fs from "node:fs"

import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import type { Name } from "./Server.ts"

export interface Listed {
  readonly name: Name
  readonly variable: string
  readonly up?: {
    /** `pid 7`, or several. */
    readonly process: string
    readonly url: string
    readonly log: string
    readonly notes: ReadonlyArray<string>
  }
}

/** In single quotes nothing but the quote itself means anything to a shell. */
const quoted = (value: string) => `'${value.replaceAll("'", `'\\''`)}'`

export const envText = (servers: ReadonlyArray<Listed>): string =>
  [
    "# Servers of this checkout, written by `npm run servers`. Use: source .cribwork/servers.env",
    ...servers.flatMap(({ name, variable, up }) =>
      up === undefined
        ? [`# ${name} is not up: npm run servers -- up ${name}`]
        : [
            `# ${name}: ${up.process}, log ${up.log}`,
            ...up.notes.map((note) => `# ${name}: ${note}`),
            `export ${variable}=${quoted(up.url)}`
          ]
    ),
    ""
  ].join("\n")

/** With no server up there is nothing to source, so there is no file. */
export const writeEnv = (home: Home, servers: ReadonlyArray<Listed>): void => {
  if (servers.some(({ up }) => up !== undefined)) writeWhole(home.envFile, envText(servers))
  else fs.rmSync(home.envFile, { force: true })
}
