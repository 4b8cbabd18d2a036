/**
 * Promises in the documents are kept by tests that exist.
 *
 * A document promises in a table with a column `test`. Each row names at least one test there, each in
 * backticks as `path: title`, the title word for word as the test has it (`|` written as `\|`):
 *
 *     | promise                    | test                                                                     |
 *     | -------------------------- | ------------------------------------------------------------------------ |
 *     | All keys are charged or none | `test/limits/Limiter.suite.ts: charges no key when one of them is full` |
 */
import type { Complaint, Rule, Source } from "./Source.ts"

/** What a test does: a function, or an effect that is made where it stands. */
const bodies = new Set(["ArrowFunctionExpression", "FunctionExpression", "CallExpression"])

/** Titles in a test file: the text that a call names first and a body follows. */
const titles = (file: Source): ReadonlySet<string> =>
  new Set(
    file.nodes.flatMap((node) => {
      if (node.type !== "CallExpression") return []
      const [title, ...rest] = node.arguments
      if (!rest.some(({ type }) => bodies.has(type))) return []
      return title?.type === "Literal" && typeof title.value === "string" ? [title.value] : []
    })
  )

/** Cells of a row; undefined when the line is none. */
const cells = (line: string): ReadonlyArray<string> | undefined =>
  /^\s*\|.*\|\s*$/.test(line)
    ? line
        .trim()
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim())
    : undefined

/** Every cell in a column `test`, with the number of its line. */
const promises = (text: string): ReadonlyArray<{ readonly line: number; readonly cell: string }> => {
  const found: Array<{ readonly line: number; readonly cell: string }> = []
  let column: number | undefined
  let inTable = false
  for (const [index, line] of text.split("\n").entries()) {
    const row = cells(line)
    if (row === undefined) inTable = false
    else if (!inTable) {
      inTable = true
      const at = row.findIndex((cell) => /^\**tests?\**$/i.test(cell))
      column = at === -1 ? undefined : at
    } else if (column !== undefined && !row.every((cell) => /^:?-+:?$/.test(cell))) {
      found.push({ line: index + 1, cell: row[column] ?? "" })
    }
  }
  return found
}

const named = /`(test\/[^`:]+\.ts): ([^`]+)`/g

/** Documents that consist of promises, and so must hold some. */
const mustPromise = /^docs\/systems\/.+\.md$/

export const promisesHaveTests: Rule = (files) => {
  const known = new Map(
    files.filter((file) => file.isCode && file.path.startsWith("test/")).map((file) => [file.path, titles(file)])
  )
  return files
    .filter((file) => file.path === "README.md" || (file.path.startsWith("docs/") && file.path.endsWith(".md")))
    .flatMap((file): ReadonlyArray<Complaint> => {
      const made = promises(file.text)
      if (made.length === 0 && mustPromise.test(file.path)) {
        return [{ path: file.path, why: "has no table with a column `test`" }]
      }
      return made.flatMap(({ line, cell }): ReadonlyArray<Complaint> => {
        const tests = [...cell.matchAll(named)]
        if (tests.length === 0) return [{ path: file.path, why: `line ${line} promises without a test` }]
        return tests.flatMap(([, path = "", escaped = ""]) => {
          const title = escaped.replaceAll("\\|", "|")
          return known.get(path)?.has(title) === true
            ? []
            : [{ path: file.path, why: `line ${line}: no test "${title}" in ${path}` }]
        })
      })
    })
}

/** Every variable that `Settings` reads is on the page `docs/CONFIG.md`. */
export const settingsAreDocumented =
  (variables: ReadonlyArray<string>): Rule =>
  (files) => {
    const path = "docs/CONFIG.md"
    const page = files.find((file) => file.path === path)?.text ?? ""
    return variables
      .filter((variable) => !page.includes(`\`${variable}\``))
      .map((variable) => ({ path, why: `does not say what ${variable} is` }))
  }

/** Every example has its recorded output beside it, and nothing else is recorded. */
const twin = (path: string) => (path.endsWith(".ts") ? path.replace(/ts$/, "out") : path.replace(/out$/, "ts"))

export const examplesAreRecorded: Rule = (files) => {
  const paths = new Set(files.map((file) => file.path))
  return [...paths]
    .filter((path) => /^examples\/.+\.(?:ts|out)$/.test(path) && !paths.has(twin(path)))
    .map((path) => ({ path, why: `there is no ${twin(path)}` }))
}
