import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { murmur2, partitionOf } from "../../src/domain/events/Partitioner.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

describe("Partitioner", () => {
  // Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
  it.each([
    ["21", -973_932_308],
    ["foobar", -790_332_482],
    ["a-little-bit-long-string", -985_981_536],
    ["a-little-bit-longer-string", -1_486_304_829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971],
    ["abc", 479_470_107]
  ])("hashes %s as Java does", (text, hash) => {
    assert.strictEqual(murmur2(bytes(text)), hash)
  })

  it("sends keys where Java's producer sends them", () => {
    assert.deepStrictEqual(
      ["a", "b", "order-1", "order-2", "order-3", "7c1f9a2e", "x".repeat(37)].map((key) => partitionOf(key, 10)),
      [4, 6, 6, 3, 9, 1, 5]
    )
  })

  it.prop(
    "names a partition that exists, for any key and count, and the hash ignores where the bytes lie",
    { key: Schema.String, partitions: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 })) },
    ({ key, partitions }) => {
      const partition = partitionOf(key, partitions)
      assert.isTrue(Number.isInteger(partition) && partition >= 0 && partition < partitions)
      const shifted = new Uint8Array([7, ...bytes(key)]).subarray(1)
      assert.strictEqual(murmur2(shifted), murmur2(bytes(key)))
    }
  )
})
