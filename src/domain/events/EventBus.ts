/** The log of events that everybody may read. */
import { Context, Schema } from "effect"
import type { Effect, Stream } from "effect"

import { type BusRecord, sizeOf } from "./Envelope.ts"

/** A record as it lies on the bus. */
export interface ReadRecord extends BusRecord {
  readonly partition: number
  /** From 0, growing within a partition. */
  readonly offset: number
}

/** One record that the bus will never take, and why. */
export interface Refusal {
  readonly record: BusRecord
  readonly why: string
}

/**
 * Bytes of one record. Below the limit of a Kafka broker as it comes (1 MiB for a batch, its header included),
 * and the same for every bus, so that moving from one to another strands nothing.
 */
export const recordBytesMax = 1_000_000

/** What every bus refuses before it sends anything. */
export const refusalsOf = (records: ReadonlyArray<BusRecord>): ReadonlyArray<Refusal> =>
  records.flatMap((record) => {
    if (!topicName.test(record.topic))
      return [{ record, why: "a topic is 1 to 249 letters, digits, dots, dashes, underscores" }]
    const bytes = sizeOf(record)
    return bytes > recordBytesMax ? [{ record, why: `${bytes} bytes, where ${recordBytesMax} are allowed` }] : []
  })

/** Kafka's rule, `org.apache.kafka.common.internals.Topic`. */
const topicName = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/

/** Not now: the bus is away, or its answer was lost. Some of the records may have been written. */
export class Retriable extends Schema.TaggedError<Retriable>()("Retriable", { cause: Schema.Defect() }) {
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : String(this.cause)
  }
}

/** Never: the bus refuses these records as they are. Others of the batch may have been written. */
export class Rejected extends Schema.TaggedError<Rejected>()("Rejected", {
  refusals: Schema.NonEmptyArray(Schema.declare((value): value is Refusal => typeof value === "object"))
}) {}

/**
 * Not until somebody repairs it: the topic has another number of partitions than we were told. Going on
 * would send a key to two places.
 */
export class TopicDrifted extends Schema.TaggedError<TopicDrifted>()("TopicDrifted", {
  topic: Schema.String,
  expected: Schema.Int,
  found: Schema.Int
}) {
  override get message(): string {
    return `topic ${this.topic} has ${this.found} partitions where ${this.expected} are configured; a topic keeps its count for life: set KAFKA_PARTITIONS=${this.found}, or use a new version of the topic`
  }
}

export class EventBusError extends Schema.TaggedError<EventBusError>()("EventBusError", {
  reason: Schema.Union([Retriable, Rejected, TopicDrifted])
}) {
  override get message(): string {
    return this.reason._tag === "Rejected" ? this.reason.refusals.map(({ why }) => why).join("; ") : this.reason.message
  }
}

/**
 * A partitioned, durable log of records, kept by topic.
 *
 * - `publish` succeeds only when every record is durable, and then they lie in their partitions in the
 *   order given. After a failure the caller repeats: records may lie there twice, never out of order,
 *   as long as the caller sends the records of a key one call after another.
 * - A key is always in the partition that `Partitioner.partitionOf` names.
 * - `read` loses nothing that was written after its starting point and keeps the order of each partition.
 */
export class EventBus extends Context.Service<
  EventBus,
  {
    readonly publish: (records: readonly [BusRecord, ...ReadonlyArray<BusRecord>]) => Effect.Effect<void, EventBusError>
    /** All that lies in the topic, or only what comes from now on; then it waits for more, without end. */
    readonly read: (topic: string, from: "earliest" | "latest") => Stream.Stream<ReadRecord, EventBusError>
  }
>()("cribwork/events/EventBus") {}
