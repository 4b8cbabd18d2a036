/**
 * An `EventOutbox` in this process: the same rules as migrations/0002_events.sql, over a map. It forgets
 * everything on restart and knows no transactions, so what is staged is staged at once and for good.
 */
import { Clock, Duration, Effect, Layer } from "effect"

import { whyUnstageable, type StagedEvent } from "../../domain/events/Envelope.ts"
import {
  type Claim,
  type ClaimBounds,
  claimBounds,
  EventOutbox,
  EventOutboxError,
  EventRefused,
  type Lease,
  type Published
} from "../../domain/events/EventOutbox.ts"

interface EventStream {
  readonly topic: string
  readonly key: string
  lastSequence: number
  publishedSequence: number
  dueAtMillis: number
  owner: string | undefined
  epoch: number
  parkedSequence: number | undefined
  /** What waits, oldest first. */
  events: Array<StagedEvent>
}

const make = (bounds: ClaimBounds) =>
  Effect.sync(() => {
    const streams = new Map<string, EventStream>()
    const held = (owner: string, lease: Lease) => {
      const stream = streams.get(nameOf(lease.topic, lease.key))
      return stream?.owner === owner && stream.epoch === lease.epoch ? stream : undefined
    }

    const stage: EventOutbox["Service"]["stage"] = Effect.fnUntraced(function* (events) {
      for (const event of events) {
        const why = whyUnstageable(event)
        if (why !== undefined) return yield* new EventOutboxError({ reason: new EventRefused({ id: event.id, why }) })
      }
      const now = yield* Clock.currentTimeMillis
      return events.map((event) => {
        const name = nameOf(event.topic, event.key)
        const stream = streams.get(name) ?? opened(event.topic, event.key)
        streams.set(name, stream)
        if (stream.publishedSequence === stream.lastSequence) stream.dueAtMillis = now
        const previous = stream.lastSequence
        stream.lastSequence = previous + 1
        stream.events.push({ ...event, sequence: stream.lastSequence, previous, stagedAtMillis: now })
        return stream.lastSequence
      })
    })

    const claim: EventOutbox["Service"]["claim"] = Effect.fnUntraced(function* (owner, limit) {
      const now = yield* Clock.currentTimeMillis
      const due = [...streams.values()]
        .filter((stream) => stream.publishedSequence < readyOf(stream) && stream.dueAtMillis <= now)
        .toSorted((a, b) => a.dueAtMillis - b.dueAtMillis)
        .slice(0, limit)
      const claims: Array<Claim> = []
      let taken = 0
      let bytes = 0
      for (const stream of due) {
        const events: Array<StagedEvent> = []
        for (const event of stream.events.slice(0, bounds.perStreamMax)) {
          bytes += Buffer.byteLength(event.payload)
          const room = taken === 0 || (taken < bounds.eventsMax && bytes <= bounds.bytesMax)
          if (event.sequence > readyOf(stream) || !room) break
          events.push(event)
          taken++
        }
        const [first, ...others] = events
        if (first === undefined) break
        stream.owner = owner
        stream.epoch++
        stream.dueAtMillis = now + Duration.toMillis(bounds.lease)
        claims.push({ topic: stream.topic, key: stream.key, epoch: stream.epoch, events: [first, ...others] })
      }
      return claims
    })

    const forget: EventOutbox["Service"]["forget"] = Effect.fnUntraced(function* (owner, published) {
      const now = yield* Clock.currentTimeMillis
      const removed: Array<Published> = []
      const fenced: Array<Published> = []
      for (const one of published) {
        const stream = held(owner, one)
        if (stream === undefined) {
          fenced.push(one)
          continue
        }
        stream.events = stream.events.filter((event) => event.sequence > one.through)
        stream.publishedSequence = Math.max(stream.publishedSequence, one.through)
        stream.owner = undefined
        stream.dueAtMillis = now
        removed.push(one)
      }
      return { removed, busy: [], fenced }
    })

    const release: EventOutbox["Service"]["release"] = Effect.fnUntraced(function* (owner, leases, delay) {
      const now = yield* Clock.currentTimeMillis
      for (const lease of leases) {
        const stream = held(owner, lease)
        if (stream === undefined) continue
        stream.owner = undefined
        stream.dueAtMillis = now + Duration.toMillis(delay)
      }
    })

    const park: EventOutbox["Service"]["park"] = (owner, lease, sequence) =>
      Effect.sync(() => {
        const stream = held(owner, lease)
        if (stream === undefined || sequence <= stream.publishedSequence || sequence > readyOf(stream)) return false
        stream.parkedSequence = sequence
        return true
      })

    const redrive: EventOutbox["Service"]["redrive"] = Effect.fnUntraced(function* (topic, key) {
      const now = yield* Clock.currentTimeMillis
      const stream = streams.get(nameOf(topic, key))
      if (stream?.parkedSequence === undefined) return false
      stream.parkedSequence = undefined
      if (stream.owner === undefined) stream.dueAtMillis = now
      return true
    })

    const backlog: EventOutbox["Service"]["backlog"] = Effect.sync(() => {
      let waiting = 0
      let parked = 0
      for (const stream of streams.values()) {
        waiting += readyOf(stream) - stream.publishedSequence
        parked += stream.lastSequence - readyOf(stream)
      }
      return { waiting, parked }
    })

    return EventOutbox.of({ stage, claim, forget, release, park, redrive, backlog })
  })

export const layerWith = (bounds: ClaimBounds) => Layer.effect(EventOutbox, make(bounds))

export const layer = layerWith(claimBounds)

const nameOf = (topic: string, key: string) => `${topic}\0${key}`

/** The newest event that may leave. */
const readyOf = (stream: EventStream) =>
  stream.parkedSequence === undefined ? stream.lastSequence : stream.parkedSequence - 1

const opened = (topic: string, key: string): EventStream => ({
  topic,
  key,
  lastSequence: 0,
  publishedSequence: 0,
  dueAtMillis: 0,
  owner: undefined,
  epoch: 0,
  parkedSequence: undefined,
  events: []
})
