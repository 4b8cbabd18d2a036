import * as net from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Exit, Fiber, Layer, Logger, Scope, Stream } from "effect"
import { ConfigResourceTypes, type ISocketFactoryArgs, Kafka } from "kafkajs"

import { EventBus } from "../../src/domain/events/EventBus.ts"
import * as KafkaJsEventBus from "../../src/layers/events/KafkaJsEventBus.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { describeLive } from "../support/Live.ts"
import { eventBusSuite, record, topicOf } from "./EventBus.suite.ts"
import { kafkaOptions } from "./KafkaOptions.ts"

/** Sockets as the adapter opens them, until the wire is cut: then every one breaks, and none can be opened. */
const wire = () => {
  const sockets = new Set<net.Socket>()
  let broken = false
  return {
    openSocket: ({ host, port, onConnect }: ISocketFactoryArgs) => {
      const socket = net.connect({ host, port: broken ? 1 : port }, onConnect)
      sockets.add(socket)
      return socket
    },
    /** Bytes go out and nothing comes back, as when a broker hangs. */
    freeze: Effect.sync(() => {
      for (const socket of sockets) socket.pause()
    }),
    open: () => [...sockets].filter((socket) => !socket.destroyed).length,
    cut: Effect.sync(() => {
      broken = true
      for (const socket of sockets) socket.destroy(new Error("cut"))
    }),
    mend: Effect.sync(() => {
      broken = false
    })
  }
}

/** As an operator would, in the broker's own words. */
const lowerLimit = (options: KafkaJsEventBus.Options, topic: string, bytes: number) =>
  Effect.promise(async () => {
    const admin = new Kafka({ brokers: [...options.brokers], logLevel: 0 }).admin()
    await admin.connect()
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: [{ name: "max.message.bytes", value: String(bytes) }]
        }
      ]
    })
    await admin.disconnect()
  })

const silence = Logger.layer([])
const warnings: Array<string> = []
process.on("warning", ({ name }) => warnings.push(name))

const publish = (topic: string, value: string) => EventBus.use((bus) => bus.publish([record(topic, "k", value)]))

const boot = (variables: Record<string, string>) =>
  Layer.build(
    KafkaJsEventBus.layer(["127.0.0.1:1"], []).pipe(
      Layer.provide(Layer.fresh(Settings.layer)),
      Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(variables)))
    )
  )

describeLive("EventBus (kafka)", ["kafka"], ({ kafka }) => {
  const options = kafkaOptions(kafka)
  eventBusSuite("kafka", KafkaJsEventBus.layerWith(options))

  it.live("a cut wire fails the call, and the same bus goes on when it is mended", () => {
    const { openSocket, cut, mend } = wire()
    const topic = topicOf("cut")
    return Effect.gen(function* () {
      const bus = yield* EventBus
      yield* publish(topic, "1")
      yield* cut
      const error = yield* Effect.flip(publish(topic, "2"))
      assert.strictEqual(error.reason._tag, "Retriable")
      yield* mend
      yield* publish(topic, "2").pipe(Effect.retry({ times: 3 }))
      const got = yield* bus.read(topic, "earliest").pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(
        got.map(({ headers }) => headers["ce_id"]),
        ["1", "2"]
      )
    }).pipe(Effect.provide(KafkaJsEventBus.layerWith({ ...options, openSocket })))
  })

  it.live("it boots while the brokers are away and publishes once they are there", () => {
    const { openSocket, cut, mend } = wire()
    const topic = topicOf("boot")
    return Effect.gen(function* () {
      yield* cut
      const services = yield* Layer.build(KafkaJsEventBus.layerWith({ ...options, openSocket, topics: [topic] }))
      yield* mend
      yield* publish(topic, "1").pipe(Effect.provide(services))
    }).pipe(Effect.scoped, Effect.provide(silence))
  })

  it.live("a topic with another number of partitions stops the boot and says what to do", () => {
    const topic = topicOf("drift")
    return Effect.gen(function* () {
      yield* Effect.provide(publish(topic, "1"), KafkaJsEventBus.layerWith(options))
      const error = yield* Effect.flip(
        Layer.build(KafkaJsEventBus.layerWith({ ...options, partitions: 5, topics: [topic] }))
      )
      assert.strictEqual(error.reason._tag, "TopicDrifted")
      assert.match(error.message, /has 4 partitions where 5 .*KAFKA_PARTITIONS=4/)
    }).pipe(Effect.scoped)
  })

  it.live("a broker that takes less than we do refuses only what is too large for it", () => {
    const topic = topicOf("limit")
    return Effect.gen(function* () {
      const bus = yield* EventBus
      yield* publish(topic, "0")
      yield* lowerLimit(options, topic, 2000)
      const large = record(topic, "large", "x".repeat(5000))
      const error = yield* Effect.flip(
        bus.publish([record(topic, "small", "1"), large, record(topic, "large", "after"), record(topic, "small", "2")])
      )
      assert.deepStrictEqual(
        error.reason._tag === "Rejected" && error.reason.refusals.map((refusal) => refusal.record),
        [large]
      )
      // None alone is too large, all together are.
      const [first, ...others] = Array.from({ length: 5 }, (_, n) => record(topic, "k", String(n).repeat(900)))
      assert.isDefined(first)
      yield* bus.publish([first, ...others])
      const got = yield* bus.read(topic, "earliest").pipe(Stream.take(8), Stream.runCollect)
      const of = (key: string) =>
        got.filter((one) => one.key === key).map(({ headers }) => headers["ce_id"]?.slice(0, 1))
      assert.deepStrictEqual([of("small"), of("large"), of("k")], [["1", "2"], [], ["0", "0", "1", "2", "3", "4"]])
    }).pipe(Effect.provide(KafkaJsEventBus.layerWith(options)))
  })

  it.live("it closes at once and leaves no socket open, a reader in the middle of a fetch included", () => {
    const { openSocket, open } = wire()
    const topic = topicOf("close")
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const services = yield* Layer.buildWithScope(KafkaJsEventBus.layerWith({ ...options, openSocket }), scope)
      const bus = yield* Effect.provide(EventBus, services)
      yield* bus.publish([record(topic, "k")])
      const first = yield* bus.read(topic, "earliest").pipe(
        Stream.runForEach(() => Effect.void),
        Effect.forkChild
      )
      yield* bus.read(topic, "earliest").pipe(Stream.take(1), Stream.runDrain)
      assert.isAbove(open(), 0)
      const [elapsed] = yield* Effect.timed(Effect.andThen(Fiber.interrupt(first), Scope.close(scope, Exit.void)))
      assert.isBelow(Duration.toMillis(elapsed), 2500)
      yield* Effect.sleep("50 millis")
      assert.strictEqual(open(), 0)
    })
  })

  it.live("it closes in bounded time although a broker hangs, and leaves no socket open", () => {
    const { freeze, openSocket, open } = wire()
    const topic = topicOf("hang")
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      const services = yield* Layer.buildWithScope(KafkaJsEventBus.layerWith({ ...options, openSocket }), scope)
      yield* Effect.provide(publish(topic, "1"), services)
      yield* freeze
      const hanging = yield* publish(topic, "2").pipe(Effect.provide(services), Effect.exit, Effect.forkChild)
      yield* Effect.sleep("50 millis")
      const [elapsed] = yield* Effect.timed(Scope.close(scope, Exit.void))
      assert.isBelow(Duration.toMillis(elapsed), 2500)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(hanging)))
      yield* Effect.sleep("50 millis")
      assert.strictEqual(open(), 0)
    })
  })

  it.live("no timer of kafkajs complained", () =>
    Effect.sync(() => {
      assert.notInclude(warnings, "TimeoutNegativeWarning")
    })
  )
})

describe("KafkaJsEventBus", () => {
  it.live("without a broker it boots, and answers in bounded time that the bus is away", () =>
    Effect.gen(function* () {
      const [elapsed, error] = yield* EventBus.use((bus) => bus.publish([record("away.v1", "k")])).pipe(
        Effect.flip,
        Effect.provide(KafkaJsEventBus.layerWith({ ...kafkaOptions("127.0.0.1:1"), topics: ["away.v1"] })),
        Effect.timed
      )
      assert.strictEqual(error.reason._tag, "Retriable")
      assert.match(error.message, /ECONNREFUSED/)
      assert.isBelow(Duration.toMillis(elapsed), 12_000)
    }).pipe(Effect.provide(silence))
  )

  it.effect("half a set of credentials stops the boot, a whole one does not show its password", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(boot({ KAFKA_SASL_MECHANISM: "plain", KAFKA_SASL_USERNAME: "me" }))
      assert.match(error.message, /KAFKA_SASL_PASSWORD must be set together/)
      yield* boot({ KAFKA_SASL_MECHANISM: "plain", KAFKA_SASL_USERNAME: "me", KAFKA_SASL_PASSWORD: "secret" })
    }).pipe(Effect.scoped)
  )
})
