/**
 * Which way imports go: programs, then layers/http, then a system's layers, then layers/platform, and from
 * everywhere to domain, which imports `effect` and itself. The linter says it while one types; this says
 * it whole, and for what is loaded by a call or named in a type.
 */
import type { Rule, Source } from "./Source.ts"

interface Place {
  readonly zone: "domain" | "layers" | "programs" | "outside"
  /** "" for files that belong to no system. */
  readonly folder: string
}

const place = (path: string): Place => {
  const [, zone, folder] = /^src\/(domain|layers|programs)\/(?:([^/]+)\/)?/.exec(path) ?? []
  return { zone: zone === undefined ? "outside" : (zone as Place["zone"]), folder: folder ?? "" }
}

const mayImport = (from: Place, to: Place): boolean => {
  const own = to.zone === from.zone && to.folder === from.folder
  switch (from.zone) {
    case "domain":
      return to.zone === "domain" && (own || to.folder === "" || from.folder === "api")
    case "layers":
      if (to.zone === "domain") return true
      return to.zone === "layers" && (own || from.folder === "http" || to.folder === "platform")
    case "programs":
      return to.zone !== "outside"
    case "outside":
      return true
  }
}

/** What of `effect` reaches out of the process, or runs the tests. */
const reaching = /^effect\/(?:cli|cluster|eventlog|http|http-api|observability|persistence|rpc|sql|testing|workflow)\b/

const domainMay = ({ folder }: Place, from: string, name: string): boolean => {
  if (from === "node:crypto") return name === "hash"
  if (from === "effect") return name !== "Layer"
  if (folder === "api" && /^effect\/http(?:-api)?$/.test(from)) return true
  return from.startsWith("effect/") && !reaching.test(from)
}

const packageOf = (from: string) => /^(?:@[^/]+\/)?[^/]+/.exec(from)?.[0] ?? from

/** Packages that consumers get with ours. */
const shipped = (files: ReadonlyArray<Source>): ReadonlySet<string> => {
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(
    files.find(({ path }) => path === "package.json")?.text ?? "{}"
  ) as { readonly dependencies?: object; readonly peerDependencies?: object }
  return new Set(Object.keys({ ...dependencies, ...peerDependencies }))
}

export const arrows: Rule = (files) => {
  const packages = shipped(files)
  return files
    .filter((file) => file.isCode && file.path.startsWith("src/"))
    .flatMap((file) => {
      const from = place(file.path)
      return file.imports
        .filter((one) => {
          if (one.from.startsWith(".")) return !mayImport(from, place(file.resolve(one.from)))
          if (from.zone === "domain") return !domainMay(from, one.from, one.name)
          return !one.from.startsWith("node:") && !packages.has(packageOf(one.from))
        })
        .map((one) => ({ path: file.path, why: `may not import ${one.name || "for its effects"} from ${one.from}` }))
    })
}
