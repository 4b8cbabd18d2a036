/**
 * Which partition a key belongs to: Java's murmur2, as in Apache Kafka's own producer
 * (`org.apache.kafka.common.utils.Utils.murmur2`), so that whoever else writes to a topic sends a key to the
 * same place. The rule lives here and not in a client, because clients differ: one that hashed otherwise
 * would split a key over two partitions, and its order with it.
 */

const seed = 0x9747b28c
const m = 0x5bd1e995
const encoder = new TextEncoder()

const mix = (k: number) => {
  const once = Math.imul(k, m)
  return Math.imul(once ^ (once >>> 24), m)
}

/** A signed 32-bit hash of these bytes. */
export const murmur2 = (bytes: Uint8Array): number => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const whole = bytes.length - (bytes.length % 4)
  let h = seed ^ bytes.length
  for (let at = 0; at < whole; at += 4) h = Math.imul(h, m) ^ mix(view.getInt32(at, true))
  if (whole < bytes.length) {
    for (let at = bytes.length - 1; at >= whole; at--) h ^= view.getUint8(at) << (8 * (at - whole))
    h = Math.imul(h, m)
  }
  h = Math.imul(h ^ (h >>> 13), m)
  return h ^ (h >>> 15)
}

/** From 0 to `partitions` - 1. The same key is always in the same place, for as long as the count stands. */
export const partitionOf = (key: string, partitions: number): number =>
  (murmur2(encoder.encode(key)) & 0x7fffffff) % partitions
