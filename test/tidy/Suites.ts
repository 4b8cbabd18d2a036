/** What keeps the tests honest: every adapter runs its port's suite, and nothing is skipped in silence. */
import type { Node } from "oxc-parser"

import type { Rule, Source } from "./Source.ts"

/** Files that are reached from `file` by relative imports within test, itself included. */
const reachable = (file: Source, byPath: ReadonlyMap<string, Source>): ReadonlySet<Source> => {
  const seen = new Set([file])
  for (const one of seen) {
    for (const { from } of one.imports) {
      const next = from.startsWith(".") ? byPath.get(one.resolve(from)) : undefined
      if (next?.path.startsWith("test/")) seen.add(next)
    }
  }
  return seen
}

const importsValueFrom = (file: Source, path: string) =>
  file.imports.some((one) => one.from.startsWith(".") && file.resolve(one.from) === path)

/** Names that are called in the file, whatever with. */
const called = (file: Source): ReadonlySet<string> =>
  new Set(
    file.nodes.flatMap((node) =>
      node.type === "CallExpression" && node.callee.type === "Identifier" ? [node.callee.name] : []
    )
  )

/** Ports that the file implements: services of domain that it builds a value of, as `Limiter.of({ … })`. */
const implemented = (file: Source): ReadonlyArray<{ readonly noun: string; readonly page: string }> => {
  const built = new Set(
    file.nodes.flatMap((node) =>
      node.type === "CallExpression" &&
      node.callee.type === "MemberExpression" &&
      node.callee.object.type === "Identifier" &&
      node.callee.property.type === "Identifier" &&
      node.callee.property.name === "of"
        ? [node.callee.object.name]
        : []
    )
  )
  return file.imports.flatMap((one) => {
    const page = one.from.startsWith(".") ? file.resolve(one.from) : ""
    return page.startsWith("src/domain/") && built.has(one.local) ? [{ noun: one.name, page }] : []
  })
}

/** An adapter is called technology and noun, and some test calls the suite of its port with it in reach. */
export const adaptersHaveSuites: Rule = (files) => {
  const byPath = new Map(files.filter((file) => file.isCode).map((file) => [file.path, file]))
  const tests = [...byPath.values()]
    .filter((file) => file.path.endsWith(".test.ts"))
    .map((file) => ({ file, reached: reachable(file, byPath), calls: called(file) }))

  const runsSuite = (adapter: string, page: string) =>
    tests.some(
      ({ reached, calls }) =>
        [...reached].some((one) => importsValueFrom(one, adapter)) &&
        [...reached].some(
          (one) =>
            one.path.endsWith(".suite.ts") && importsValueFrom(one, page) && one.exports.some((name) => calls.has(name))
        )
    )

  return [...byPath.values()]
    .filter((file) => /^src\/layers\/(?!http\/|platform\/)/.test(file.path))
    .flatMap((file) => implemented(file).map((port) => ({ file, ...port })))
    .flatMap(({ file: { path, stem }, noun, page }) => {
      const called = new RegExp(`^[A-Z]\\w*${noun}s?$`).test(stem)
      return [
        ...(called ? [] : [{ path, why: `keeps ${noun}, and its name does not end with it` }]),
        ...(runsSuite(path, page) ? [] : [{ path, why: `no test runs the suite of ${noun} on it` }])
      ]
    })
}

const focusing = new Set(["only"])
const skipping = new Set(["skip", "todo", "skipIf", "runIf", "fails"])

/** The name at the start of `it.effect.skip` and the one at its end. */
const chain = (node: Node): { readonly root: string; readonly last: string } | undefined => {
  if (node.type !== "MemberExpression" || node.property.type !== "Identifier") return undefined
  const { object, property } = node
  if (object.type === "Identifier") return { root: object.name, last: property.name }
  const inner = chain(object)
  return inner === undefined ? undefined : { root: inner.root, last: property.name }
}

/** Nothing is focused; what is skipped says why, on its line or in a comment right above. */
export const skipsHaveReasons: Rule = (files) =>
  files
    .filter((file) => file.isCode && file.path.startsWith("test/"))
    .flatMap((file) => {
      const reasons = new Set(file.comments.filter(({ text }) => /\w/.test(text)).map(({ line }) => line))
      return file.nodes.flatMap((node) => {
        const found = chain(node)
        if (found === undefined || !/^(?:it|test|describe|layer|suite)$/.test(found.root)) return []
        const line = file.lineOf(node.start)
        if (focusing.has(found.last)) return [{ path: file.path, why: `line ${line} lets nothing else run` }]
        return skipping.has(found.last) && !reasons.has(line) && !reasons.has(line - 1)
          ? [{ path: file.path, why: `line ${line} skips without a reason beside it` }]
          : []
      })
    })
