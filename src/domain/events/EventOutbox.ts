/** Events that were decided and are not yet known to the bus. */
import { Context, Duration, Schema } from "effect"
import type { Effect } from "effect"

import type { NewEvent, StagedEvent } from "./Envelope.ts"

/** A stream (one key of one topic) that one relay holds for a while. */
export interface Lease {
  readonly topic: string
  readonly key: string
  /** Grows with every lease of this stream, so that a holder that overslept is told from its successor. */
  readonly epoch: number
}

/** A leased stream and the oldest of what waits in it, in order and never empty. */
export interface Claim extends Lease {
  readonly events: readonly [StagedEvent, ...ReadonlyArray<StagedEvent>]
}

/** A leased stream of which everything up to `through` has been acknowledged by the bus. */
export interface Published extends Lease {
  readonly through: number
}

/** What became of each `Published`. */
export interface Forgotten {
  readonly removed: ReadonlyArray<Published>
  /** Somebody is staging in these streams right now. The lease stands; ask again. */
  readonly busy: ReadonlyArray<Published>
  /** Leased by somebody else since, or given back. Nothing was removed. */
  readonly fenced: ReadonlyArray<Published>
}

/** How much one claim may take, and for how long. */
export interface ClaimBounds {
  /** Longer than publishing a claim may take, or two relays publish the same events. */
  readonly lease: Duration.Duration
  /** Events of one stream, so that a deep one delays the others by one round at most. */
  readonly perStreamMax: number
  /** Events in all. */
  readonly eventsMax: number
  /** Bytes of payload in all, exceeded only by a single event that is larger by itself. */
  readonly bytesMax: number
}

/** Sized for one round trip to a broker: 4 MiB fits in memory many times, 1024 records in one request. */
export const claimBounds: ClaimBounds = {
  lease: Duration.seconds(30),
  perStreamMax: 64,
  eventsMax: 1024,
  bytesMax: 4 * 1024 * 1024
}

export interface Backlog {
  /** Events that wait to be published. */
  readonly waiting: number
  /** Events that are parked, or wait behind one that is. */
  readonly parked: number
}

/** Never: this event cannot be staged as it is. */
export class EventRefused extends Schema.TaggedError<EventRefused>()("EventRefused", {
  id: Schema.String,
  why: Schema.String
}) {}

/** Don't know: the store did not answer. */
export class OutboxUnavailable extends Schema.TaggedError<OutboxUnavailable>()("OutboxUnavailable", {
  cause: Schema.Defect()
}) {}

export class EventOutboxError extends Schema.TaggedError<EventOutboxError>()("EventOutboxError", {
  reason: Schema.Union([EventRefused, OutboxUnavailable])
}) {
  override get message(): string {
    return this.reason._tag === "EventRefused"
      ? `event ${this.reason.id} refused: ${this.reason.why}`
      : `the outbox does not answer: ${String(this.reason.cause)}`
  }
}

/**
 * Where events wait for the bus, shared by every system that publishes.
 *
 * - `stage` joins the transaction around it: the event exists if and only if that transaction commits.
 * - Sequences of a (topic, key) are 1, 2, 3 … in the order of commits, without gaps; who stages in a stream
 *   waits for whoever staged in it before and has not committed yet.
 * - At most one relay holds a stream at a time, until its lease runs out by the store's clock.
 * - An event leaves the outbox only by `forget`, under a lease that still stands.
 * - A parked event holds up what follows it in its stream, and nothing else.
 */
export class EventOutbox extends Context.Service<
  EventOutbox,
  {
    /** The sequences given, in the order of `events`. */
    readonly stage: (events: ReadonlyArray<NewEvent>) => Effect.Effect<ReadonlyArray<number>, EventOutboxError>
    /** At most `limit` streams, longest due first; bounded in events and bytes too, so it may be fewer. */
    readonly claim: (owner: string, limit: number) => Effect.Effect<ReadonlyArray<Claim>, EventOutboxError>
    /** Removes what was published and ends the leases. */
    readonly forget: (owner: string, published: ReadonlyArray<Published>) => Effect.Effect<Forgotten, EventOutboxError>
    /** Ends leases with nothing removed; the streams may be claimed again after `delay`. */
    readonly release: (
      owner: string,
      leases: ReadonlyArray<Lease>,
      delay: Duration.Duration
    ) => Effect.Effect<void, EventOutboxError>
    /** Stops a leased stream before the event `sequence`; the lease stands. False when it was not parked. */
    readonly park: (
      owner: string,
      lease: Lease,
      sequence: number,
      reason: string
    ) => Effect.Effect<boolean, EventOutboxError>
    /** Lets a parked stream go on, the same event first. False when it was not parked. */
    readonly redrive: (topic: string, key: string) => Effect.Effect<boolean, EventOutboxError>
    readonly backlog: Effect.Effect<Backlog, EventOutboxError>
  }
>()("cribwork/events/EventOutbox") {}
