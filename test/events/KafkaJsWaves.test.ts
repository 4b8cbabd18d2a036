import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { batchBytesMax, placed, unacknowledged, waveBytesMax, wavesOf } from "../../src/layers/events/KafkaJsWaves.ts"

const Sized = Schema.Struct({
  partition: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 11 })),
  bytes: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: batchBytesMax - 100 }))
})

const at = (topic: string, partition: number) =>
  placed({ topic, key: "k", headers: {}, value: new Uint8Array(1) }, partition)

const ack = (topicName: string, partition: number, errorCode = 0) => ({ topicName, partition, errorCode })

describe("KafkaJsWaves", () => {
  it.prop(
    "waves keep every record in its order, and stay below the limits of a batch and of a request",
    { sizes: Schema.Array(Sized) },
    ({ sizes }) => {
      const all = sizes.map(({ partition, bytes }) =>
        placed({ topic: "t", key: "k", headers: {}, value: new Uint8Array(bytes) }, partition)
      )
      const waves = wavesOf(all)
      assert.deepStrictEqual(waves.flat(), all)
      for (const wave of waves) {
        assert.isNotEmpty(wave)
        assert.isAtMost(
          wave.reduce((sum, { bytes }) => sum + bytes, 0),
          waveBytesMax
        )
        for (const batch of Map.groupBy(wave, ({ partition }) => partition).values()) {
          assert.isAtMost(
            batch.reduce((sum, { bytes }) => sum + bytes, 0),
            batchBytesMax
          )
        }
      }
    }
  )

  it("a wave is acknowledged only when every partition of every topic is named without an error", () => {
    const wave = [at("a", 0), at("a", 1), at("b", 0)]
    assert.isUndefined(unacknowledged(wave, [ack("b", 0), ack("a", 1), ack("a", 0)]))
    assert.strictEqual(unacknowledged(wave, [ack("a", 0), ack("b", 0)]), wave[1])
    assert.strictEqual(unacknowledged(wave, [ack("a", 0), ack("a", 1), ack("b", 0, 7)]), wave[2])
    assert.strictEqual(unacknowledged(wave, []), wave[0])
  })
})
