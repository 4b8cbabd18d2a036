/**
 * Whoever calls something remote goes through a breaker. Found by what opens connections: the constructors of
 * clients, `fetch`, and plain sockets. Each place is in the table with its dependency and the file that stands
 * before it, or with the reason why nothing does.
 */
import type { Node } from "oxc-parser"

import type { Complaint, Rule, Source } from "./Source.ts"

interface Guarded {
  readonly dependency: string
  /** Declares the dependency and stands before the client. */
  readonly guard: string
  /** Its layer is what programs must not take without the guard. */
  readonly raw?: string
}

interface Bare {
  readonly reason: string
}

const kafka: Guarded = {
  dependency: "kafka",
  guard: "src/layers/events/GuardedEventBus.ts",
  raw: "src/layers/events/KafkaJsEventBus.ts"
}

/** Places that open connections, by path. */
export const clients: Readonly<Record<string, Guarded | Bare>> = {
  "src/layers/platform/RedisClient.ts": {
    dependency: "redis",
    guard: "src/layers/platform/GuardedRedis.ts",
    raw: "src/layers/platform/Redis.ts"
  },
  "src/layers/platform/Postgres.ts": {
    dependency: "postgres",
    guard: "src/layers/platform/GuardedPostgres.ts",
    raw: "src/layers/platform/Postgres.ts"
  },
  "src/layers/events/KafkaJsClient.ts": kafka,
  "src/layers/payments/HttpPsp.ts": { dependency: "psp", guard: "src/layers/payments/ProviderCalls.ts" },
  "src/layers/breakers/Fetch.ts": { reason: "It is the breaker: whoever uses it names the dependency." },
  "src/layers/platform/SideDoor.ts": { reason: "Orders about the breaker of Postgres must be read while it is open." },
  "src/layers/platform/Telemetry.ts": { reason: "A breaker tells of itself through it; it drops what it cannot send." },
  "src/layers/payments/TwinFile.ts": { reason: "A socket of this machine, to see whether a file is taken." },
  "src/programs/migrate.ts": { reason: "One connection, once; its failure is the program's." },
  "src/programs/stacks/Embedded.ts": { reason: "The migrations of a Postgres of our own, at its start." },
  "src/programs/cli/ApiClient.ts": { reason: "A person asks once, and is told." }
}

/** Programs that take a raw layer for a single errand. */
const errands: ReadonlySet<string> = new Set(["src/programs/cli/KeyDesk.ts"])

const constructors: ReadonlySet<string> = new Set(["Redis", "Cluster", "Kafka", "WebSocket", "EventSource"])
const packages = /^(?:ioredis|kafkajs|undici|ws|pg|postgres|node:(?:net|tls|http|https|http2|dgram))$/
const opening: ReadonlySet<string> = new Set(["connect", "createConnection", "request", "get"])
const httpClients: ReadonlySet<string> = new Set(["FetchHttpClient", "NodeHttpClient"])
const sqlClients: ReadonlySet<string> = new Set(["layer", "layerConfig", "make", "makeClient"])

const nameOf = (node: Node): string => (node.type === "Identifier" ? node.name : "")

/** Whether a file opens connections of its own. */
export const opensConnections = (file: Source): boolean => {
  const fromPackages = new Map(file.imports.filter(({ from }) => packages.test(from)).map((one) => [one.local, one]))
  return file.nodes.some((node) => {
    switch (node.type) {
      case "NewExpression":
        return constructors.has(fromPackages.get(nameOf(node.callee))?.name ?? nameOf(node.callee))
      case "CallExpression": {
        const { callee } = node
        if (callee.type === "Identifier") {
          return callee.name === "fetch" || opening.has(fromPackages.get(callee.name)?.name ?? "")
        }
        if (callee.type !== "MemberExpression" || callee.object.type !== "Identifier") return false
        const [object, property] = [callee.object.name, nameOf(callee.property)]
        if (object === "PgClient") return sqlClients.has(property)
        return (object === "globalThis" && property === "fetch") || (fromPackages.has(object) && opening.has(property))
      }
      case "MemberExpression":
        return httpClients.has(nameOf(node.object)) && /^(?:layer|make)/.test(nameOf(node.property))
      default:
        return false
    }
  })
}

const declares = (file: Source | undefined, dependency: string): boolean =>
  file?.nodes.some(
    (node) =>
      node.type === "CallExpression" &&
      node.callee.type === "MemberExpression" &&
      nameOf(node.callee.object) === "Dependency" &&
      nameOf(node.callee.property) === "make" &&
      node.arguments[0]?.type === "Literal" &&
      node.arguments[0].value === dependency
  ) ?? false

/** Takes the layer of `raw`, which whoever only wants its types or services does not. */
const takesLayer = (file: Source, raw: string): boolean =>
  file.imports.some(
    ({ from, local, name }) =>
      from.startsWith(".") &&
      file.resolve(from) === raw &&
      name === "*" &&
      file.nodes.some(
        (node) =>
          node.type === "MemberExpression" && nameOf(node.object) === local && nameOf(node.property).startsWith("layer")
      )
  )

export const clientsHaveBreakersOf =
  (table: Readonly<Record<string, Guarded | Bare>>): Rule =>
  (files) => {
    const code = files.filter((file) => file.isCode && file.path.startsWith("src/"))
    const byPath = new Map(code.map((file) => [file.path, file]))
    const complaints: Array<Complaint> = []
    for (const file of code) {
      if (opensConnections(file) && table[file.path] === undefined) {
        complaints.push({ path: file.path, why: "opens connections, and no breaker is named for them" })
      }
    }
    for (const [path, row] of Object.entries(table)) {
      const file = byPath.get(path)
      if (file === undefined || !opensConnections(file)) complaints.push({ path, why: "opens no connections any more" })
      if (!("guard" in row)) continue
      if (!declares(byPath.get(row.guard), row.dependency)) {
        complaints.push({ path, why: `${row.guard} declares no dependency "${row.dependency}"` })
      }
      const { guard, raw } = row
      if (raw === undefined) continue
      for (const program of code.filter((one) => one.path.startsWith("src/programs/") && !errands.has(one.path))) {
        const guarded = program.imports.some(({ from }) => from.startsWith(".") && program.resolve(from) === guard)
        if (takesLayer(program, raw) && !guarded)
          complaints.push({ path: program.path, why: `takes ${raw} without ${guard}` })
      }
    }
    return complaints
  }

export const clientsHaveBreakers: Rule = clientsHaveBreakersOf(clients)
