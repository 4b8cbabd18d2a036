/**
 * An `EventBus` on Kafka through kafkajs: `acks=all`, one request in flight to a broker, partitions computed by
 * our `Partitioner`. It boots and waits while the brokers are away, and after any failure starts over with a
 * fresh client.
 *
 * Not idempotent, on purpose. kafkajs takes a sequence number back when a request fails, although the broker may
 * have written it; another batch of the same length would then carry it, be taken for a repeat, and be
 * acknowledged without being written. A repeat is what the port allows and consumers drop; a loss is not.
 *
 * kafkajs also reports success for a batch in which a partition moved to a broker that had already answered, and
 * leaves that partition out. So an ack counts only when it names every partition that was sent.
 */
import { Effect, Exit, Layer, Option, Ref, Scope, Semaphore, Stream } from "effect"
import type { Producer, RecordMetadata } from "kafkajs"

import { EventBus, EventBusError, type Refusal, refusalsOf, Rejected } from "../../domain/events/EventBus.ts"
import { partitionOf } from "../../domain/events/Partitioner.ts"
import { Settings } from "../platform/Settings.ts"
import { call, type Connection, connectionOf, retriable, retry, scoped, typesOf } from "./KafkaJsClient.ts"
import * as KafkaJsReader from "./KafkaJsReader.ts"
import * as KafkaJsTopics from "./KafkaJsTopics.ts"
import { placed, type Placed, unacknowledged, wavesOf } from "./KafkaJsWaves.ts"

export interface Options extends Connection, KafkaJsTopics.Shape {
  /** Reconciled at once, so that one with another number of partitions stops the boot; later ones at first use. */
  readonly topics: ReadonlyArray<string>
}

const connectMillisMax = 5000
/** Kafka's own time to have all replicas write, then ours for the answer. */
const ackMillisMax = 8000
const publishMillisMax = 15_000
const bootMillisMax = 5000
const closeMillisMax = 1000

const make = (options: Options) =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const current = yield* Ref.make(Option.none<{ readonly producer: Producer; readonly scope: Scope.Closeable }>())
    const connecting = yield* Semaphore.make(1)
    const reconciled = new Set<string>()

    const connect = Effect.gen(function* () {
      const known = yield* Ref.get(current)
      if (Option.isSome(known)) return known.value
      const own = yield* Scope.fork(scope)
      const client = { producer: yield* producerOf(options).pipe(Scope.provide(own)), scope: own }
      yield* call(connectMillisMax, "connecting to Kafka", () => client.producer.connect()).pipe(
        Effect.onError(() => Scope.close(own, Exit.void))
      )
      yield* Ref.set(current, Option.some(client))
      return client
    }).pipe(connecting.withPermits(1))

    const reconcile = Effect.fnUntraced(function* (topic: string) {
      if (reconciled.has(topic)) return
      const kafka = yield* scoped(options)
      yield* KafkaJsTopics.reconcile(kafka, topic, options)
      reconciled.add(topic)
    }, Effect.scoped)

    const send = Effect.fnUntraced(function* (wave: ReadonlyArray<Placed>) {
      const client = yield* connect
      yield* call(publishMillisMax, "publishing", () =>
        client.producer.sendBatch({ acks: -1, timeout: ackMillisMax, topicMessages: messagesOf(wave) })
      ).pipe(
        Effect.flatMap((answer) => acknowledged(wave, answer)),
        // Whatever state it is in: the next call starts over, and this one's late retries find no socket.
        Effect.onError(() =>
          Effect.andThen(
            Ref.update(current, (known) => Option.filter(known, (one) => one !== client)),
            Scope.close(client.scope, Exit.void)
          )
        )
      )
    })

    /** The broker's limits may be lower than ours: then one by one, so that only what it refuses is refused. */
    const sendWave = (wave: ReadonlyArray<Placed>): Effect.Effect<void, EventBusError> =>
      Effect.catchIf(send(wave), isRefusal, (error) => {
        const [only, ...others] = wave
        if (only === undefined || others.length === 0) {
          const refusals = only === undefined ? [] : [{ record: only.record, why: error.message }]
          return Effect.fail(rejected(refusals) ?? error)
        }
        return sendSingly(wave, error)
      })

    const sendSingly = Effect.fnUntraced(function* (wave: ReadonlyArray<Placed>, refused: EventBusError) {
      const refusals: Array<Refusal> = []
      const stopped = new Set<string>()
      for (const one of wave) {
        const stream = `${one.record.topic}\0${one.record.key}`
        if (stopped.has(stream)) continue
        yield* Effect.catchIf(send([one]), isRefusal, (error) =>
          Effect.sync(() => {
            stopped.add(stream)
            refusals.push({ record: one.record, why: error.message })
          })
        )
      }
      const error = rejected(refusals)
      // All were taken one by one: together they were too large, and are there now.
      if (error !== undefined) return yield* error
      yield* Effect.logDebug(`a batch went record by record: ${refused.message}`)
    })

    const publish: EventBus["Service"]["publish"] = Effect.fnUntraced(function* (records) {
      const error = rejected(refusalsOf(records))
      if (error !== undefined) return yield* error
      for (const topic of new Set(records.map((record) => record.topic))) yield* reconcile(topic)
      const all = records.map((record) => placed(record, partitionOf(record.key, options.partitions)))
      for (const wave of wavesOf(all)) yield* sendWave(wave)
    })

    const read: EventBus["Service"]["read"] = (topic, from) =>
      Stream.unwrap(Effect.as(reconcile(topic), KafkaJsReader.read(options, topic, from)))

    yield* Effect.forEach(options.topics, reconcile, { discard: true }).pipe(
      Effect.timeoutOrElse({
        duration: bootMillisMax,
        orElse: () => Effect.fail(retriable("Kafka does not answer", undefined))
      }),
      Effect.catchIf(
        ({ reason }) => reason._tag === "Retriable",
        (error) => Effect.logWarning(`events wait until Kafka answers: ${error.message}`)
      )
    )
    return EventBus.of({ publish, read })
  })

export const layerWith = (options: Options) => Layer.effect(EventBus, make(options))

/** With the brokers that `KAFKA_BROKERS` named. */
export const layer = (brokers: ReadonlyArray<string>, topics: ReadonlyArray<string>) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { kafkaPartitions, kafkaReplication } = yield* Settings
      const connection = yield* connectionOf(brokers)
      return layerWith({ ...connection, topics, partitions: kafkaPartitions, replication: kafkaReplication })
    })
  )

const producerOf = Effect.fnUntraced(function* (options: Options) {
  const kafka = yield* scoped(options)
  return yield* Effect.acquireRelease(
    Effect.sync(() =>
      kafka.producer({
        allowAutoTopicCreation: false,
        createPartitioner:
          () =>
          ({ message }) =>
            message.partition ?? 0,
        maxInFlightRequests: 1,
        retry
      })
    ),
    (producer) => Effect.ignore(call(closeMillisMax, "closing", () => producer.disconnect()))
  )
})

const messagesOf = (wave: ReadonlyArray<Placed>) =>
  Array.from(
    Map.groupBy(wave, ({ record }) => record.topic),
    ([topic, some]) => ({
      topic,
      messages: some.map(({ record, partition }) => ({
        key: record.key,
        value: Buffer.from(record.value.buffer, record.value.byteOffset, record.value.byteLength),
        headers: { ...record.headers },
        partition
      }))
    })
  )

const acknowledged = (wave: ReadonlyArray<Placed>, answer: ReadonlyArray<RecordMetadata>) => {
  const missing = unacknowledged(wave, answer)
  return missing === undefined
    ? Effect.void
    : Effect.fail(retriable(`no ack for partition ${missing.partition} of ${missing.record.topic}`, undefined))
}

const rejected = (refusals: ReadonlyArray<Refusal>): EventBusError | undefined => {
  const [first, ...others] = refusals
  return first && new EventBusError({ reason: new Rejected({ refusals: [first, ...others] }) })
}

/** Apache Kafka, `org.apache.kafka.common.protocol.Errors`: what no repetition of the same bytes will change. */
const refusing = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP"])

const isRefusal = (error: EventBusError) =>
  error.reason._tag === "Retriable" && typesOf(error.reason.cause).some((type) => refusing.has(type))
