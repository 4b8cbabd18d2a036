/**
 * Cuts what is to be published into requests that a broker takes. kafkajs writes all records of a partition in a
 * request as one batch, and the broker's `max.message.bytes` is about the batch.
 */
import { type BusRecord, sizeOf } from "../../domain/events/Envelope.ts"
import { recordBytesMax } from "../../domain/events/EventBus.ts"

export interface Placed {
  readonly record: BusRecord
  readonly partition: number
  readonly bytes: number
}

export const placed = (record: BusRecord, partition: number): Placed => ({
  record,
  partition: record.partition ?? partition,
  bytes: sizeOf(record)
})

/** Of one partition's batch in one request. */
export const batchBytesMax = recordBytesMax
/** Of one request in all. */
export const waveBytesMax = 8_000_000

/** In the order given, each wave to be acknowledged before the next is sent. */
export const wavesOf = (all: ReadonlyArray<Placed>): ReadonlyArray<ReadonlyArray<Placed>> => {
  const waves: Array<Array<Placed>> = []
  let batches = new Map<string, number>()
  let total = 0
  for (const one of all) {
    const place = `${one.partition} ${one.record.topic}`
    const batch = (batches.get(place) ?? 0) + one.bytes
    if (waves.length === 0 || batch > batchBytesMax || total + one.bytes > waveBytesMax) {
      waves.push([])
      batches = new Map()
      total = 0
    }
    waves.at(-1)?.push(one)
    batches.set(place, (batches.get(place) ?? 0) + one.bytes)
    total += one.bytes
  }
  return waves
}

/** What a broker says about one partition of a request. */
export interface Ack {
  readonly topicName: string
  readonly partition: number
  readonly errorCode: number
}

/** A record whose partition no ack names; `undefined` when all are written. */
export const unacknowledged = (wave: ReadonlyArray<Placed>, acks: ReadonlyArray<Ack>): Placed | undefined => {
  const named = new Set(
    acks.filter(({ errorCode }) => errorCode === 0).map((ack) => `${ack.partition} ${ack.topicName}`)
  )
  return wave.find(({ record, partition }) => !named.has(`${partition} ${record.topic}`))
}
