/** What every `EventBus` promises. An adapter that passes may stand in for any other. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Fiber, type Layer, Stream } from "effect"

import { type BusRecord, sizeOf } from "../../src/domain/events/Envelope.ts"
import { EventBus, recordBytesMax } from "../../src/domain/events/EventBus.ts"
import { partitionOf } from "../../src/domain/events/Partitioner.ts"

/** Of every bus under this suite. */
export const suitePartitions = 4

/** A live bus remembers earlier runs. */
const run = `${process.pid}-${Math.trunc(performance.timeOrigin)}`
export const topicOf = (name: string) => `suite-${name}-${run}.v1`

const encoder = new TextEncoder()
export const record = (topic: string, key: string, value = "v"): BusRecord => ({
  topic,
  key,
  headers: { ce_id: value, "content-type": "text/plain", empty: "", unicode: "ü€😀" },
  value: encoder.encode(value)
})

const take = (topic: string, count: number) =>
  EventBus.use((bus) => bus.read(topic, "earliest").pipe(Stream.take(count), Stream.runCollect))

const text = (one: BusRecord) => new TextDecoder().decode(one.value)

export const eventBusSuite = <E>(name: string, layer: Layer.Layer<EventBus, E>) =>
  withLayer(layer, { excludeTestServices: true, timeout: "60 seconds" })(`EventBus (${name})`, (it) => {
    it.effect("gives back what was published, to the byte", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("bytes")
        const value = Uint8Array.from({ length: 256 }, (_, byte) => byte)
        const sent = { ...record(topic, "k ü€😀"), value }
        yield* bus.publish([sent])
        const [got] = yield* take(topic, 1)
        assert.deepStrictEqual(
          { topic: got?.topic, key: got?.key, headers: { ...got?.headers }, value: Uint8Array.from(got?.value ?? []) },
          { topic, key: sent.key, headers: { ...sent.headers }, value }
        )
      })
    )

    it.effect("keeps the order of a partition, with offsets that grow by one from 0", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("order")
        const numbers = Array.from({ length: 200 }, (_, n) => n)
        const records = numbers.map((n) => record(topic, `k${n % 7}`, String(n)))
        for (let at = 0; at < records.length; at += 40) {
          const [first, ...others] = records.slice(at, at + 40)
          assert.isDefined(first)
          yield* bus.publish([first, ...others])
        }
        for (const [partition, got] of Map.groupBy(yield* take(topic, numbers.length), (one) => one.partition)) {
          const expected = numbers.filter((n) => partitionOf(`k${n % 7}`, suitePartitions) === partition)
          assert.deepStrictEqual(got.map(text), expected.map(String))
          assert.deepStrictEqual(
            got.map(({ offset }) => offset),
            expected.map((_, index) => index)
          )
        }
      })
    )

    it.effect("puts a key where the partitioner says, unless the record names its partition", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("places")
        const keys = ["a", "b", "order-1", "21", "x".repeat(37)]
        yield* bus.publish([{ ...record(topic, "a"), partition: 3 }, ...keys.map((key) => record(topic, key))])
        const got = yield* take(topic, keys.length + 1)
        const places = got.map(({ key, partition }) => `${key} ${partition}`).toSorted()
        const expected = ["a 3", ...keys.map((key) => `${key} ${partitionOf(key, suitePartitions)}`)]
        assert.deepStrictEqual(places, expected.toSorted())
      })
    )

    it.effect("takes several topics in one call", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const [one, other] = [topicOf("one"), topicOf("other")]
        yield* bus.publish([record(one, "k", "1"), record(other, "k", "2"), record(one, "k", "3")])
        assert.deepStrictEqual((yield* take(one, 2)).map(text), ["1", "3"])
        assert.deepStrictEqual((yield* take(other, 1)).map(text), ["2"])
      })
    )

    it.effect("a reader gets what is written later, and one that starts at the end nothing that was before", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("tail")
        yield* bus.publish([record(topic, "k", "old")])
        const all = yield* Effect.forkChild(take(topic, 2))
        const latest = yield* bus.read(topic, "latest").pipe(Stream.take(1), Stream.runCollect, Effect.forkChild)
        // Until the second reader has found the end of the log, what is written may be before it.
        const writing = yield* bus
          .publish([record(topic, "k", "new")])
          .pipe(Effect.andThen(Effect.sleep("20 millis")), Effect.forever, Effect.forkChild)
        assert.deepStrictEqual((yield* Fiber.join(all)).map(text), ["old", "new"])
        assert.deepStrictEqual((yield* Fiber.join(latest)).map(text), ["new"])
        yield* Fiber.interrupt(writing)
      })
    )

    it.effect("readers do not disturb one another", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("readers")
        yield* bus.publish([record(topic, "k", "1"), record(topic, "k", "2")])
        const both = yield* Effect.all([take(topic, 2), take(topic, 2)], { concurrency: 2 })
        for (const got of both) assert.deepStrictEqual(got.map(text), ["1", "2"])
      })
    )

    it.effect("concurrent writers lose nothing and keep the order of each key", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("writers")
        const write = (key: string) =>
          Effect.forEach(Array.from({ length: 10 }), (_, n) => bus.publish([record(topic, key, `${key} ${n}`)]))
        const keys = ["a", "b", "c", "d", "e", "f"]
        yield* Effect.forEach(keys, write, { concurrency: "unbounded" })
        const got = yield* take(topic, keys.length * 10)
        for (const key of keys) {
          assert.deepStrictEqual(
            got.filter((one) => one.key === key).map(text),
            Array.from({ length: 10 }, (_, n) => `${key} ${n}`)
          )
        }
      })
    )

    it.effect("names each record that it will never take, and takes one of the largest size", () =>
      Effect.gen(function* () {
        const bus = yield* EventBus
        const topic = topicOf("size")
        const bare = { ...record(topic, "large"), headers: {}, value: new Uint8Array() }
        const most = { ...bare, value: new Uint8Array(recordBytesMax - sizeOf(bare)) }
        const large = { ...bare, value: new Uint8Array(most.value.length + 1) }
        const nameless = record("no such topic name", "k")
        const error = yield* Effect.flip(bus.publish([record(topic, "k"), large, nameless]))
        assert.strictEqual(error.reason._tag, "Rejected")
        if (error.reason._tag === "Rejected") {
          assert.deepStrictEqual(
            error.reason.refusals.map((refusal) => refusal.record),
            [large, nameless]
          )
        }
        yield* bus.publish([most, most, most])
        assert.deepStrictEqual(
          (yield* take(topic, 3)).map(({ value }) => value.length),
          [most, most, most].map(({ value }) => value.length)
        )
      })
    )
  })
