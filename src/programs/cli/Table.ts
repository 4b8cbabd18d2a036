/** Text in columns, for people. What others wrote cannot move the cursor or colour the screen. */
import { CliOutput } from "effect/cli"

const gap = "  "

/** Control characters, C1 ones included, as `\xNN`. */
export const plain = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replaceAll(/[\u0000-\u001F\u007F-\u009F]/g, (one) => `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`)

const padded = (text: string, width: number) => text + " ".repeat(Math.max(0, width - CliOutput.displayWidth(text)))

const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths: Array<number> = []
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, CliOutput.displayWidth(cell))
  }
  return rows
    .map((row) =>
      row
        .map((cell, at) => padded(cell, widths[at] ?? 0))
        .join(gap)
        .trimEnd()
    )
    .join("\n")
}

/** A row under each other, below their headings. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  columns([head.map((name) => name.toUpperCase()), ...rows.map((row) => row.map(plain))])

/** A name and what it is, a line each. */
export const facts = (pairs: ReadonlyArray<readonly [string, string]>): string =>
  columns(pairs.map(([name, value]) => [name, plain(value)]))

/** RFC 3339 in UTC as a person reads it, to the second. */
export const time = (rfc3339: string): string => rfc3339.replace(/^([\d-]+)T([\d:]+)(?:\.\d+)?Z$/, "$1 $2 UTC")
