/**
 * A file of the repository as the rules see it, and, when it is TypeScript, what it imports, exports and
 * says. Read by a parser and not by patterns, so that a word in a comment or a text is none in the code.
 */
import * as fs from "node:fs"
import * as path from "node:path"

import { parseSync } from "oxc-parser"
import type { Node } from "oxc-parser"

/** One name taken from a module; `*` when all of it is taken, "" when it is only run. */
export interface Import {
  readonly from: string
  readonly name: string
  readonly local: string
}

export interface Comment {
  readonly line: number
  readonly text: string
}

/** Something a rule has against a file. */
export interface Complaint {
  readonly path: string
  readonly why: string
}

export type Rule = (files: ReadonlyArray<Source>) => ReadonlyArray<Complaint>

export class Source {
  readonly path: string
  readonly text: string

  constructor(path: string, text: string) {
    this.path = path
    this.text = text
  }

  get isCode(): boolean {
    return this.path.endsWith(".ts")
  }

  get stem(): string {
    return path.posix.basename(this.path).replace(/\.(?:test|suite)\.ts$|\.[a-z]+$/, "")
  }

  get parsed() {
    return (this.#parsed ??= parseSync(this.path, this.text))
  }
  #parsed: ReturnType<typeof parseSync> | undefined

  /** Every node, outermost first. */
  get nodes(): ReadonlyArray<Node> {
    if (this.#nodes === undefined) {
      const nodes: Array<Node> = []
      collect(this.parsed.program, nodes)
      this.#nodes = nodes
    }
    return this.#nodes
  }
  #nodes: ReadonlyArray<Node> | undefined

  get comments(): ReadonlyArray<Comment> {
    return this.parsed.comments.flatMap(({ value, start }) =>
      value.split("\n").map((text, index) => ({ line: this.lineOf(start) + index, text }))
    )
  }

  /** Static, dynamic and type imports, and what is passed on by `export … from`. */
  get imports(): ReadonlyArray<Import> {
    const { staticImports, staticExports } = this.parsed.module
    return [
      ...staticImports.flatMap(({ moduleRequest: { value: from }, entries }) =>
        entries.length === 0
          ? [{ from, name: "", local: "" }]
          : entries.map(({ importName, localName }) => ({ from, name: importName.name ?? "*", local: localName.value }))
      ),
      ...staticExports.flatMap(({ entries }) =>
        entries.flatMap(({ moduleRequest, importName }) =>
          moduleRequest === null ? [] : [{ from: moduleRequest.value, name: importName.name ?? "*", local: "" }]
        )
      ),
      ...this.nodes.flatMap((node) =>
        (node.type === "ImportExpression" || node.type === "TSImportType") && node.source.type === "Literal"
          ? [{ from: String(node.source.value), name: "*", local: "" }]
          : []
      )
    ]
  }

  get exports(): ReadonlyArray<string> {
    return this.parsed.module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ exportName }) => (exportName.name === null ? [] : [exportName.name]))
    )
  }

  /** The repository's path of what a relative import means. */
  resolve(from: string): string {
    return path.posix.normalize(path.posix.join(path.posix.dirname(this.path), from))
  }

  lineOf(offset: number): number {
    return this.text.slice(0, offset).split("\n").length
  }
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

const collect = (node: Node, into: Array<Node>): void => {
  into.push(node)
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) collect(child, into)
  }
}

/** Every text file of the clone but what git ignores. */
export const readAll = (root: string): ReadonlyArray<Source> => {
  const ignored = [".git", ...fs.readFileSync(path.join(root, ".gitignore"), "utf8").split("\n")].filter(
    (line) => line !== ""
  )
  const walk = (folder: string): ReadonlyArray<Source> =>
    fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
      if (ignored.some((pattern) => path.matchesGlob(entry.name, pattern.replace(/\/$/, "")))) return []
      const name = path.posix.join(folder, entry.name)
      if (entry.isDirectory()) return walk(name)
      const text = entry.isFile() ? fs.readFileSync(path.join(root, name), "utf8") : "\0"
      return text.includes("\0") ? [] : [new Source(name, text)]
    })
  return walk("")
}
