/**
 * Reads a topic from a fixed place on. kafkajs has no consumer without a group, so each reader is the only
 * member of a group of its own, which commits nothing and is forgotten by the broker when it leaves.
 */
import { Cause, Effect, Queue, Random, Stream } from "effect"
import type { Consumer, IHeaders, KafkaMessage } from "kafkajs"

import type { EventBusError, ReadRecord } from "../../domain/events/EventBus.ts"
import { call, type Connection, retriable, retry, scoped } from "./KafkaJsClient.ts"
import { withAdmin } from "./KafkaJsTopics.ts"

const joinMillisMax = 15_000
const adminMillisMax = 10_000
const closeMillisMax = 1000
/** How long a broker holds a fetch open when there is nothing; a closing reader waits for it. */
const fetchMillisMax = 250
/** Records fetched and not yet taken; above it the reader stops fetching. */
const bufferMax = 1024

export const read = (connection: Connection, topic: string, from: "earliest" | "latest") =>
  Stream.callback<ReadRecord, EventBusError>(
    (queue) =>
      Effect.gen(function* () {
        const kafka = yield* scoped(connection)
        const ends = yield* withAdmin(kafka, (admin) =>
          call(adminMillisMax, `asking for the ends of ${topic}`, () => admin.fetchTopicOffsets(topic))
        )
        // What comes before it was delivered already, or lies before the starting point.
        const next = new Map(ends.map(({ partition, low, high }) => [partition, from === "earliest" ? low : high]))
        const group = `cribwork-reader-${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`
        const consumer = yield* acquire(() =>
          kafka.consumer({ groupId: group, maxWaitTimeInMs: fetchMillisMax, allowAutoTopicCreation: false, retry })
        )
        consumer.on(consumer.events.CRASH, ({ payload }) => {
          if (!payload.restart)
            Queue.failCauseUnsafe(
              queue,
              Cause.fail(retriable(`reading ${topic}: ${payload.error.message}`, payload.error))
            )
        })
        const run = Effect.runPromiseWith(yield* Effect.context())
        yield* call(joinMillisMax, `reading ${topic}`, async () => {
          await consumer.connect()
          await consumer.subscribe({ topic, fromBeginning: true })
          await consumer.run({
            autoCommit: false,
            eachBatch: ({ batch: { partition, messages } }) => {
              const due = messages.filter(({ offset }) => BigInt(offset) >= BigInt(next.get(partition) ?? "0"))
              const last = due.at(-1)
              if (last !== undefined) next.set(partition, String(BigInt(last.offset) + 1n))
              return run(
                Effect.asVoid(
                  Queue.offerAll(
                    queue,
                    due.map((message) => recordOf(topic, partition, message))
                  )
                )
              )
            }
          })
          for (const [partition, offset] of next) consumer.seek({ topic, partition, offset })
        })
      }).pipe(Effect.catch((error) => Queue.fail(queue, error))),
    { bufferSize: bufferMax, strategy: "suspend" }
  )

const acquire = (make: () => Consumer) =>
  Effect.acquireRelease(Effect.sync(make), (consumer) =>
    Effect.ignore(call(closeMillisMax, "closing", () => consumer.disconnect()))
  )

const recordOf = (topic: string, partition: number, message: KafkaMessage): ReadRecord => ({
  topic,
  partition,
  offset: Number(message.offset),
  key: message.key?.toString() ?? "",
  headers: headersOf(message.headers ?? {}),
  value: message.value ?? new Uint8Array()
})

/** Of a header that was written twice, the later value. */
const headersOf = (headers: IHeaders) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String((Array.isArray(value) ? value.at(-1) : value) ?? "")])
  )
