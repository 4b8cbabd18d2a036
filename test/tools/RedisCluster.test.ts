import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { clusterNodes } from "../../tools/servers/RedisCluster.ts"

const Ports = Schema.Array(Schema.Struct({ client: Schema.Int, bus: Schema.Int })).check(
  Schema.isMinLength(1),
  Schema.isMaxLength(9)
)

describe("RedisCluster", () => {
  it.prop("gives every slot to one node, and tells each the same of all", { nodes: Ports }, ({ nodes }) => {
    const books = nodes.map((_, self) => clusterNodes(nodes, self))
    assert.strictEqual(new Set(books.map((book) => book.replace("myself,", ""))).size, 1)
    const shares = [...(books[0] ?? "").matchAll(/ (\d+)-(\d+)$/gm)].map(([, first, last]) => [
      Number(first),
      Number(last)
    ])
    assert.lengthOf(shares, nodes.length)
    let next = 0
    for (const [first = 0, last = 0] of shares) {
      assert.strictEqual(first, next)
      next = last + 1
    }
    assert.strictEqual(next, 16_384)
  })
})
