/**
 * An `EventBus` in this process: one array a topic. Readers wake as soon as something is written. It forgets
 * everything on restart.
 */
import { Effect, Latch, Layer, Option, Stream } from "effect"

import { EventBus, EventBusError, type ReadRecord, refusalsOf, Rejected } from "../../domain/events/EventBus.ts"
import { partitionOf } from "../../domain/events/Partitioner.ts"

const make = (partitions: number) =>
  Effect.sync(() => {
    const topics = new Map<string, Array<ReadRecord>>()
    const ends = new Map<string, number>()
    // Replaced by every write, so that a reader that looked just before it still waits on the one that opens.
    let written = Latch.makeUnsafe()
    const logOf = (topic: string) => {
      const log = topics.get(topic) ?? []
      topics.set(topic, log)
      return log
    }

    const publish: EventBus["Service"]["publish"] = (records) =>
      Effect.suspend(() => {
        const [first, ...others] = refusalsOf(records)
        if (first !== undefined) {
          return Effect.fail(new EventBusError({ reason: new Rejected({ refusals: [first, ...others] }) }))
        }
        for (const record of records) {
          const log = logOf(record.topic)
          const partition = record.partition ?? partitionOf(record.key, partitions)
          const place = `${partition} ${record.topic}`
          const offset = ends.get(place) ?? 0
          ends.set(place, offset + 1)
          log.push({ ...record, partition, offset })
        }
        written.openUnsafe()
        written = Latch.makeUnsafe()
        return Effect.void
      })

    const read: EventBus["Service"]["read"] = (topic, from) =>
      Stream.unwrap(
        Effect.sync(() => {
          const log = logOf(topic)
          return Stream.paginate(from === "earliest" ? 0 : log.length, (next) =>
            Effect.suspend(function more(): Effect.Effect<readonly [ReadonlyArray<ReadRecord>, Option.Option<number>]> {
              const waiting = written
              return next < log.length
                ? Effect.succeed([log.slice(next), Option.some(log.length)])
                : Effect.andThen(waiting.await, Effect.suspend(more))
            })
          )
        })
      )

    return EventBus.of({ publish, read })
  })

export const layerWith = (options: { readonly partitions: number }) => Layer.effect(EventBus, make(options.partitions))

export const layer = layerWith({ partitions: 12 })
