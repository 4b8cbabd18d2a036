/**
 * Makes topics as they have to be, and refuses those that are not: a topic keeps its number of partitions for
 * life, since another one sends a key to another place.
 */
import { Effect } from "effect"
import type { Admin, Kafka } from "kafkajs"

import { EventBusError, TopicDrifted } from "../../domain/events/EventBus.ts"
import { call, retry, typesOf } from "./KafkaJsClient.ts"

export interface Shape {
  readonly partitions: number
  readonly replication: number
}

const adminMillisMax = 10_000
const closeMillisMax = 1000

/** Two weeks: what a consumer may be away without losing anything. */
const retentionMillis = 14 * 24 * 60 * 60 * 1000

export const withAdmin = <A, E, R>(kafka: Kafka, use: (admin: Admin) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => kafka.admin({ retry })),
    (admin) =>
      Effect.andThen(
        call(adminMillisMax, "connecting to Kafka", () => admin.connect()),
        use(admin)
      ),
    (admin) => Effect.ignore(call(closeMillisMax, "closing", () => admin.disconnect()))
  )

/** Fails with `TopicDrifted` when the topic exists with another number of partitions. */
export const reconcile = (kafka: Kafka, topic: string, shape: Shape) =>
  withAdmin(kafka, (admin) =>
    Effect.gen(function* () {
      const count = call(adminMillisMax, `describing topic ${topic}`, () =>
        admin.fetchTopicMetadata({ topics: [topic] })
      ).pipe(Effect.map(({ topics }) => topics.find(({ name }) => name === topic)?.partitions.length ?? 0))
      const found = yield* Effect.catchIf(count, isUnknownTopic, () =>
        Effect.andThen(create(admin, topic, shape), count)
      )
      if (found !== shape.partitions) {
        return yield* new EventBusError({ reason: new TopicDrifted({ topic, expected: shape.partitions, found }) })
      }
    })
  )

/** True when somebody else was first, too. */
const create = (admin: Admin, topic: string, { partitions, replication }: Shape) =>
  call(adminMillisMax, `creating topic ${topic}`, () =>
    admin.createTopics({
      topics: [
        {
          topic,
          numPartitions: partitions,
          replicationFactor: replication,
          configEntries: [
            { name: "retention.ms", value: String(retentionMillis) },
            // With three replicas an acknowledged record survives the loss of any one, and writes go on.
            { name: "min.insync.replicas", value: replication >= 3 ? "2" : "1" }
          ]
        }
      ],
      waitForLeaders: true
    })
  )

const isUnknownTopic = (error: EventBusError) =>
  error.reason._tag === "Retriable" && typesOf(error.reason.cause).includes("UNKNOWN_TOPIC_OR_PARTITION")
