/**
 * A Redis Cluster of three masters, one process each, from the Redis of the system. Who holds which slots is
 * written down for them before they start, so that nobody has to introduce them; the two seconds until they
 * answer are Redis's own. It keeps nothing on disk, and one that lacks a node is started again as a whole.
 */
import * as fs from "node:fs"
import * as path from "node:path"

import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import { run } from "./Machine.ts"
import { findRedis, redisVersion } from "./RedisServer.ts"
import type { Ports, Server } from "./Server.ts"
import { Trouble } from "./Trouble.ts"
import { exchange } from "./Wire.ts"

interface Node {
  readonly client: number
  /** Where nodes talk to each other. */
  readonly bus: number
}

const size = 3
const slotCount = 16_384
/** The first Redis whose nodes may choose where they talk to each other. */
const oldestMajor = 7
/** After this silence a node counts as failed. */
const nodeTimeoutMillis = 2_000

const numbers = Array.from({ length: size }, (_, place) => place + 1)
const folder = (home: Home, number: number) => path.join(home.dir, `redis-cluster-${number}`)
const configFile = (home: Home, number: number) => path.join(folder(home, number), "redis.conf")
const logFile = (home: Home, number: number) => path.join(folder(home, number), "redis.log")
const nodesOf = (ports: Ports): ReadonlyArray<Node> =>
  numbers.map((number) => ({ client: ports[`client${number}`] ?? 0, bus: ports[`bus${number}`] ?? 0 }))

/** Names of forty hexadecimal digits, as Redis wants them. */
const idOf = (place: number) => String(place + 1).repeat(40)

/** What node `self` finds in its own book: everybody, and an even share of the slots each. */
export const clusterNodes = (nodes: ReadonlyArray<Node>, self: number): string => {
  const first = (place: number) => Math.ceil((place * slotCount) / nodes.length)
  return [
    ...nodes.map(
      ({ bus, client }, place) =>
        `${idOf(place)} 127.0.0.1:${client}@${bus} ${place === self ? "myself,master" : "master"} - 0 0 ${place + 1} connected ${first(place)}-${first(place + 1) - 1}`
    ),
    `vars currentEpoch ${nodes.length} lastVoteEpoch 0`,
    ""
  ].join("\n")
}

const clusterConfig = ({ bus, client }: Node, dir: string): string =>
  [
    "bind 127.0.0.1",
    `port ${client}`,
    "cluster-enabled yes",
    `cluster-port ${bus}`,
    "cluster-config-file nodes.conf",
    `cluster-node-timeout ${nodeTimeoutMillis}`,
    `dir ${JSON.stringify(dir)}`,
    "daemonize no",
    'save ""',
    "appendonly no",
    "set-proc-title no",
    ""
  ].join("\n")

/** A text of known length, or a refusal in one line. */
const isWhole = (answer: Buffer): boolean => {
  const text = answer.toString()
  const [head = "", length] = /^\$(\d+)\r\n/.exec(text) ?? []
  return length === undefined ? text.startsWith("-") && text.endsWith("\r\n") : text.length >= head.length + +length + 2
}

/** All slots are served, as far as the node at this port knows. */
export const askWholeCluster = async (port: number): Promise<void> => {
  const answer = (await exchange(port, Buffer.from("CLUSTER INFO\r\n"), isWhole)).toString()
  if (!answer.includes("cluster_state:ok\r\n")) throw new Error(`the node at port ${port} does not see a whole cluster`)
}

export const redisCluster: Server = {
  name: "redis-cluster",
  variable: "REDIS_CLUSTER_URL",
  roles: ["client1", "client2", "client3", "bus1", "bus2", "bus3"],
  processes: size,
  politeSignal: "SIGTERM",
  graceMillis: 10_000,
  startMillis: 60_000,
  logFile: (home) => logFile(home, 1),
  owns: (home, _, line) => {
    const [program = "", ...rest] = line.split(" ")
    return (
      path.basename(program) === "redis-server" && numbers.some((number) => rest.join(" ") === configFile(home, number))
    )
  },
  prepare: async (home, ports) => {
    const program = await findRedis()
    const [major] = redisVersion((await run(program, ["--version"])).output)
    if (major < oldestMajor)
      throw new Trouble(`${program} is version ${major}; a cluster needs ${oldestMajor} or newer`)
    const nodes = nodesOf(ports)
    return nodes.map((node, place) => {
      const number = place + 1
      fs.mkdirSync(folder(home, number), { recursive: true })
      writeWhole(configFile(home, number), clusterConfig(node, folder(home, number)))
      writeWhole(path.join(folder(home, number), "nodes.conf"), clusterNodes(nodes, place))
      return { argv: [program, configFile(home, number)], log: logFile(home, number) }
    })
  },
  url: (_, ports) =>
    `redis+cluster://${nodesOf(ports)
      .map(({ client }) => `127.0.0.1:${client}`)
      .join(",")}`,
  ask: async (_, ports) => {
    await Promise.all(nodesOf(ports).map(({ client }) => askWholeCluster(client)))
  },
  notes: () => []
}
