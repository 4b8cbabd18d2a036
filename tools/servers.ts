/**
 * Real servers for the live suites, without Docker: fetched through the machine's package managers, on
 * loopback, on ports of their own, as root or not.
 */
import { down, exitCodes, names, status, up } from "./servers/Commands.ts"
import { openHome } from "./servers/Home.ts"
import { alone } from "./servers/Lock.ts"
import { say } from "./servers/Progress.ts"
import type { Name } from "./servers/Server.ts"
import { textOf, Trouble } from "./servers/Trouble.ts"

const usage = `Usage: npm run servers -- up|down|status [${names.join(" ")}]

  up      starts the named servers, or all, installing what is missing, and writes .cribwork/servers.env
  down    stops the named ones, or all, if they were started here; their data and ports are kept
  status  says which are up and whether they answer

Exit codes: 0 done, 1 something could not be done, 2 wrong usage, 3 (status) something is not up.`

const isName = (word: string): word is Name => names.some((name) => name === word)

const main = async (words: ReadonlyArray<string>): Promise<number> => {
  const [command, ...given] = words
  if (command === "--help" || command === "-h" || command === "help") {
    say(usage)
    return exitCodes.done
  }
  const unknown = given.filter((word) => !isName(word))
  if (unknown.length > 0 || (command !== "up" && command !== "down" && command !== "status")) {
    say(unknown.length > 0 ? `No such server: ${unknown.join(", ")}\n\n${usage}` : usage)
    return exitCodes.usage
  }
  const wanted = given.length === 0 ? names : names.filter((name) => given.includes(name))
  const home = openHome()
  if (command === "status") return status(home, wanted)
  return alone(home, () => (command === "up" ? up(home, wanted) : down(home, wanted)))
}

// Whoever stops reading, as `| head -1` does, does not stop the work.
process.stdout.on("error", () => {})

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Trouble)) throw error
  say(textOf(error))
  process.exitCode = exitCodes.failed
}
