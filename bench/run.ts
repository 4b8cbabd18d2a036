/** `npm run bench [name]`: runs what is named, or all; prints and appends to RESULTS.md. */
import { appendFileSync } from "node:fs"

import * as breakers from "./breakers.ts"
import * as charge from "./charge.ts"
import * as get from "./get.ts"
import * as limits from "./limits.ts"
import { describeMachine } from "./Machine.ts"

const benches = { get, charge, breakers, limits }

const [name, ...profile] = process.argv.slice(2)
const chosen = Object.entries(benches).filter(([one]) => name === undefined || one === name)
if (chosen.length === 0) {
  console.error(`There is no bench ${name}: ${Object.keys(benches).join(", ")}.`)
  process.exit(2)
}

for (const [one, { packages, run, settings }] of chosen) {
  const machine = describeMachine(packages)
  const table = await run(profile)
  const said = `\n### ${one}, ${new Date().toISOString()}\n\n${machine}. ${settings}.\n\n${table}\n`
  console.log(said)
  if (profile.length === 0) appendFileSync(new URL("RESULTS.md", import.meta.url), said)
}
