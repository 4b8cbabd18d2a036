/** A Redis Cluster of a test's own, for what a shared one must not suffer: a node that is killed or hangs. */
import { writeFileSync } from "node:fs"

import { Effect, Redacted } from "effect"

import { askWholeCluster, clusterNodes } from "../../tools/servers/RedisCluster.ts"
import * as RedisServer from "./RedisServer.ts"

/** After this silence the others count a node as failed. */
const nodeTimeoutMillis = 1000

const isWhole = (nodes: ReadonlyArray<RedisServer.Server>) =>
  Effect.promise(() =>
    Promise.all(nodes.map(({ port }) => askWholeCluster(port))).then(
      () => true,
      () => false
    )
  )

/** Three masters that serve every slot between them, and go on without the one that is lost. */
export const make = Effect.gen(function* () {
  const nodes: Array<RedisServer.Server> = []
  for (const self of [0, 1, 2]) {
    const node = yield* RedisServer.makeWith((place) => {
      const book = nodes.map(({ port, spare }) => ({ client: port, bus: spare }))
      writeFileSync(`${place.dir}/nodes.conf`, clusterNodes(book, self))
      return [
        ...RedisServer.plain(place),
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        `${place.spare}`,
        "--cluster-node-timeout",
        `${nodeTimeoutMillis}`,
        "--cluster-require-full-coverage",
        "no"
      ]
    })
    nodes.push(node)
  }
  yield* Effect.forEach(nodes, ({ start }) => start, { concurrency: "unbounded" })
  while (!(yield* isWhole(nodes))) yield* Effect.sleep("20 millis")
  return {
    nodes,
    url: Redacted.make(`redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`)
  }
})
