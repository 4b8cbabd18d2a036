/** What files are called, and how long they may be. */
import { posix } from "node:path"

import type { Complaint, Rule, Source } from "./Source.ts"

const drawers = new Set(["index", "types", "util", "utils", "helper", "helpers", "common", "shared", "misc"])
const masks = /(?:Impl|Mock|Fake|Default)(?![a-z])/

/** No drawers that anything fits in, no names that say what a thing is not. */
export const plainNames: Rule = (files) =>
  files.flatMap((file) =>
    !file.isCode
      ? []
      : [
          ...file.path
            .split("/")
            .map((segment) => segment.replace(/\..*$/, ""))
            .filter((segment) => drawers.has(segment.toLowerCase()))
            .map((segment) => ({ path: file.path, why: `"${segment}" says nothing about what is inside` })),
          ...[file.stem, ...file.exports.filter((name) => /^[A-Z]/.test(name))]
            .filter((name) => masks.test(name))
            .map((name) => ({
              path: file.path,
              why: `${name} is named after its role in the code, not after what it is`
            }))
        ]
  )

const isProgram = (path: string) => posix.dirname(path) === "src/programs"

/** Words of a name by their roots: "Paging" and "pageOf" both hold "pag". */
const wordsIn = (name: string): ReadonlyArray<string> =>
  (name.match(/[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])/g) ?? []).map((word) =>
    word.toLowerCase().replace(/(?<=..)(?:ing|e?s|e)$/, "")
  )

/** One word of both, or of one root: `PspKey` and `pspKey`, `Partitioner` and `partitionOf`. */
const related = (one: string, other: string): boolean => {
  const theirs = wordsIn(other)
  return wordsIn(one).some((word) => theirs.some((their) => word === their || word.slice(0, 5) === their.slice(0, 5)))
}

/** Taken whole, under the name of the file, by whoever imports it. */
const isNamespace = (file: Source, files: ReadonlyArray<Source>): boolean =>
  files.some(
    (other) =>
      other.isCode &&
      other.imports.some(
        (one) =>
          one.name === "*" &&
          one.local === file.stem &&
          one.from.startsWith(".") &&
          other.resolve(one.from) === file.path
      )
  )

/** A file under src is named after its main export, or read as a namespace of its own name. */
export const namedAfterExport: Rule = (files) =>
  files
    .filter((file) => file.isCode && file.path.startsWith("src/"))
    .flatMap((file): ReadonlyArray<Complaint> => {
      if (isProgram(file.path)) {
        return /^[a-z]+(?:-[a-z]+)*$/.test(file.stem)
          ? []
          : [{ path: file.path, why: "a program is lower case, words apart by dashes" }]
      }
      if (!/^[A-Z][A-Za-z0-9]*$/.test(file.stem)) return [{ path: file.path, why: "is not PascalCase" }]
      const named = file.exports.some((name) => name === "layer" || name === "stack" || related(name, file.stem))
      return named || isNamespace(file, files)
        ? []
        : [{ path: file.path, why: "exports nothing of its name and is never imported as a namespace" }]
    })

const linesMax = 300
const programLinesMax = 30

/** A page a file. A file that needs rulers between its sections is two files. */
export const pages: Rule = (files) =>
  files
    .filter((file) => file.isCode && file.path.startsWith("src/"))
    .flatMap((file) => {
      const lines = file.text.trimEnd().split("\n").length
      const most = isProgram(file.path) ? programLinesMax : linesMax - 1
      return [
        ...(lines > most ? [{ path: file.path, why: `has ${lines} lines, more than ${most}` }] : []),
        ...file.comments
          .filter(({ text }) => /[-=─━*#~_]{4}/.test(text))
          .map(({ line }) => ({ path: file.path, why: `has a ruler in line ${line}` }))
      ]
    })

/** `0001_name.sql`, `0002_name.sql`, …: nothing left out, nothing twice. */
export const migrationsInOrder: Rule = (files) =>
  files
    .filter((file) => /^migrations\/\d/.test(file.path))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1))
    .flatMap((file, index) => {
      const number = String(index + 1).padStart(4, "0")
      return new RegExp(`^migrations/${number}_[a-z0-9]+(?:_[a-z0-9]+)*\\.sql$`).test(file.path)
        ? []
        : [{ path: file.path, why: `is not ${number}_name.sql` }]
    })

const foreign = [
  { word: /(?<![\w.])[/](?:work|root|Users)[/]\S*/, why: "a path of one machine" },
  { word: /[.][.][/]shared\b/, why: "a path of one machine" },
  { word: /\b(?:house|style|effect-4|brief)[.]md\b/, why: "a document that is not here" },
  { word: /\bissues? #?\d+/i, why: "a number that says nothing here" }
]

/** The repository speaks of itself alone. */
export const ownWords: Rule = (files) =>
  files
    .filter((file) => file.path !== "package-lock.json")
    .flatMap((file) =>
      foreign.flatMap(({ word, why }) => {
        const found = word.exec(file.text)
        return found === null
          ? []
          : [{ path: file.path, why: `line ${file.lineOf(found.index)} names ${why}: ${found[0]}` }]
      })
    )
