/**
 * An `EventBus` in Postgres, for a stack of one machine: the `event_log` of migrations/0002_events.sql. A
 * publish is one transaction, so a batch is written whole or not at all. Appends to one partition follow one
 * another; readers ask again every `poll`. Nothing is ever trimmed.
 */
import { type Duration, Effect, Layer, Option, Schema, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

import {
  EventBus,
  EventBusError,
  type ReadRecord,
  refusalsOf,
  Rejected,
  Retriable,
  TopicDrifted
} from "../../domain/events/EventBus.ts"
import { partitionOf } from "../../domain/events/Partitioner.ts"
import { Reads } from "../platform/Postgres.ts"
import { Settings } from "../platform/Settings.ts"

export interface Options {
  /** Opened at once, so that one with another number of partitions stops the boot. */
  readonly topics: ReadonlyArray<string>
  readonly partitions: number
  /** How often a reader that has seen everything looks again. */
  readonly poll: Duration.Duration
}

interface LogRow {
  readonly partition: number
  readonly record_offset: bigint
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly value: Uint8Array
}

const json = Schema.encodeSync(Schema.fromJsonString(Schema.Unknown))

const make = (options: Options) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const reads = yield* Reads
    const opened = new Set<string>()

    const open = Effect.fnUntraced(function* (topic: string) {
      if (opened.has(topic)) return
      const [row] = yield* retriable(
        sql<{ found: number }>`select open_topic(${topic}, ${options.partitions}) as found`
      )
      const found = row?.found ?? 0
      if (found !== options.partitions) {
        return yield* new EventBusError({ reason: new TopicDrifted({ topic, expected: options.partitions, found }) })
      }
      opened.add(topic)
    })

    const publish: EventBus["Service"]["publish"] = Effect.fnUntraced(function* (records) {
      const [first, ...others] = refusalsOf(records)
      if (first !== undefined) {
        return yield* new EventBusError({ reason: new Rejected({ refusals: [first, ...others] }) })
      }
      for (const topic of new Set(records.map((record) => record.topic))) yield* open(topic)
      const rows = records.map(({ topic, partition, key, headers, value }) => ({
        topic,
        partition: partition ?? partitionOf(key, options.partitions),
        key,
        headers,
        value: Buffer.from(value).toString("base64")
      }))
      yield* retriable(sql`select append_log(${json(rows)}::text::jsonb)`).pipe(
        // Whoever opened a topic may have rolled back since.
        Effect.tapError(() => Effect.sync(() => opened.clear()))
      )
    })

    const read: EventBus["Service"]["read"] = (topic, from) =>
      Stream.unwrap(
        Effect.gen(function* () {
          yield* open(topic)
          const start = yield* retriable(
            reads<{
              partition: number
              next: bigint
            }>`select partition, ${from === "latest"}::bool::int * next_offset as next
              from event_partitions where topic = ${topic}`
          )
          return Stream.paginate(new Map(start.map((row) => [row.partition, Number(row.next)])), (next) =>
            Effect.gen(function* () {
              const rows = yield* retriable(
                reads<LogRow>`select l.partition, l.record_offset, l.key, l.headers, l.value
                  from jsonb_to_recordset(${positions(next)}::text::jsonb) as w(partition int, next bigint)
                  cross join lateral (
                    select * from event_log e
                    where e.topic = ${topic} and e.partition = w.partition and e.record_offset >= w.next
                    order by e.record_offset limit ${readMax}
                  ) l order by l.partition, l.record_offset`
              )
              if (rows.length === 0) yield* Effect.sleep(options.poll)
              const records = rows.map((row) => recordOf(topic, row))
              const after = new Map(next)
              for (const record of records) after.set(record.partition, record.offset + 1)
              return [records, Option.some(after)] as const
            })
          )
        })
      )

    for (const topic of options.topics) yield* open(topic)
    return EventBus.of({ publish, read })
  })

export const layerWith = (options: Options) => Layer.effect(EventBus, make(options))

export const layer = (topics: ReadonlyArray<string>) =>
  Layer.unwrap(
    Settings.useSync(({ kafkaPartitions, relayPoll }) =>
      layerWith({ topics, partitions: kafkaPartitions, poll: relayPoll })
    )
  )

/** Records of a partition that one read fetches. */
const readMax = 32

const positions = (next: ReadonlyMap<number, number>) =>
  json(Array.from(next, ([partition, offset]) => ({ partition, next: offset })))

const recordOf = (topic: string, row: LogRow): ReadRecord => ({
  topic,
  partition: row.partition,
  offset: Number(row.record_offset),
  key: row.key,
  headers: row.headers,
  value: row.value
})

const retriable = <A, R>(effect: Effect.Effect<A, SqlError.SqlError, R>): Effect.Effect<A, EventBusError, R> =>
  Effect.mapError(effect, (cause) => new EventBusError({ reason: new Retriable({ cause }) }))
