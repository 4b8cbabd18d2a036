/** Help as Effect's cli writes it; on the first page also what scripts need: exit codes and variables. */
import { Effect } from "effect"
import { CliOutput, type HelpDoc } from "effect/cli"

import { exitCodes } from "./ExitCode.ts"
import { page } from "./Printer.ts"
import { facts } from "./Table.ts"

const indented = (text: string) => text.replaceAll(/^/gm, "  ")

const variables = [
  ["CRIBWORK_URL", "The API that `payments` and `breakers` talk to; http://127.0.0.1:8080 when unset"],
  ["CRIBWORK_API_KEY", "The key it presents"],
  ["DATABASE_URL", "The database of `keys` and the programs; unset, `keys` uses that of a running `npm start`"]
] as const

const appendix = [
  "",
  "ENVIRONMENT",
  indented(facts(variables)),
  "",
  "EXIT CODES",
  indented(facts(Object.values(exitCodes).map(({ code, means }) => [String(code), means] as const))),
  "",
  "After `npm start`,  source .cribwork/dev.env  sets the first two. All settings: docs/CONFIG.md."
].join("\n")

/** Columns of a page, in a terminal or out of one. */
const pageWidth = Math.min(process.stdout.columns ?? 100, 100)

/** Breaks a line between words; what follows stands below the text, not below its name. */
const wrapped = (line: string): string => {
  const hang = /^\s*\S.*?\s{2,}(?=\S)/.exec(line) ?? /^\s*/.exec(line)
  const indent = CliOutput.displayWidth(hang?.[0] ?? "")
  const out: Array<string> = []
  let current = ""
  for (const word of line.split(/(?<=\S) (?=\S)/)) {
    const longer = current === "" ? word : `${current} ${word}`
    if (current !== "" && CliOutput.displayWidth(longer) > pageWidth) {
      out.push(current)
      current = " ".repeat(indent) + word
    } else current = longer
  }
  return [...out, current].join("\n")
}

/** Below the first page only what a command has of its own; examples stay whole, to be copied. */
const shortened = (doc: HelpDoc.HelpDoc): HelpDoc.HelpDoc => ({
  ...doc,
  ...(doc.globalFlags === undefined
    ? {}
    : { globalFlags: doc.globalFlags.filter(({ name }) => name === "help" || name === "json") })
})

const wrappedPage = (text: string): string => {
  const [body = "", ...examples] = text.split(/(?=^.*EXAMPLES)/m)
  return body.split("\n").map(wrapped).join("\n") + examples.join("")
}

export const presenter: CliOutput.Presenter = {
  present: (event) => {
    const formatter = CliOutput.defaultFormatter()
    switch (event._tag) {
      case "Help": {
        const isFirst = event.commandPath.length === 1
        const text = wrappedPage(formatter.formatHelpDoc(isFirst ? event.helpDoc : shortened(event.helpDoc)))
        return page(isFirst ? `${text}\n${appendix}` : text)
      }
      case "Version":
        return page(`${event.name} ${event.version}`)
      case "InvalidInvocation":
        // Told with all other failures.
        return Effect.void
    }
  }
}
