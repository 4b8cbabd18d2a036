/**
 * An `EventOutbox` in Postgres: one call of a function of migrations/0002_events.sql each, so that a claim or
 * a removal is one round trip and one short transaction of its own. Only `stage` belongs inside a caller's
 * transaction. Time is the database's.
 */
import { Duration, Effect, Layer, Schema } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

import { type StagedEvent, whyUnstageable } from "../../domain/events/Envelope.ts"
import {
  type Claim,
  type ClaimBounds,
  claimBounds,
  EventOutbox,
  EventOutboxError,
  EventRefused,
  OutboxUnavailable,
  type Published
} from "../../domain/events/EventOutbox.ts"
import { Settings } from "../platform/Settings.ts"

interface ClaimedRow {
  readonly topic: string
  readonly key: string
  readonly epoch: bigint
  readonly seq: bigint
  readonly previous_seq: bigint
  readonly event_id: string
  readonly type: string
  readonly headers: unknown
  readonly payload: string
  readonly staged_at: Date
}

interface OutcomeRow {
  readonly topic: string
  readonly key: string
  readonly outcome: "forgotten" | "busy" | "fenced"
}

const json = Schema.encodeSync(Schema.fromJsonString(Schema.Unknown))

const make = (bounds: ClaimBounds) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient

    const stage: EventOutbox["Service"]["stage"] = Effect.fnUntraced(function* (events) {
      for (const event of events) {
        const why = whyUnstageable(event)
        if (why !== undefined) return yield* new EventOutboxError({ reason: new EventRefused({ id: event.id, why }) })
      }
      const rows = yield* sql<{ seq: bigint }>`select seq from stage_events(${json(events)}::text::jsonb) order by ord`
      return rows.map((row) => Number(row.seq))
    }, unavailable)

    const claim: EventOutbox["Service"]["claim"] = Effect.fnUntraced(function* (owner, limit) {
      const rows =
        yield* sql<ClaimedRow>`select * from claim_events(${owner}, ${interval(bounds.lease)}::text::interval,
        ${limit}::int, ${bounds.perStreamMax}::int, ${bounds.eventsMax}::int, ${bounds.bytesMax}::bigint)`
      return claimsOf(rows)
    }, unavailable)

    const forget: EventOutbox["Service"]["forget"] = Effect.fnUntraced(function* (owner, published) {
      const rows = yield* sql<OutcomeRow>`select * from forget_events(${owner}, ${json(published)}::text::jsonb)`
      const outcomes = new Map(rows.map((row) => [nameOf(row), row.outcome]))
      const those = (outcome: OutcomeRow["outcome"]): ReadonlyArray<Published> =>
        published.filter((one) => outcomes.get(nameOf(one)) === outcome)
      return { removed: those("forgotten"), busy: those("busy"), fenced: those("fenced") }
    }, unavailable)

    const release: EventOutbox["Service"]["release"] = Effect.fnUntraced(function* (owner, leases, delay) {
      const given = json(leases.map(({ topic, key, epoch }) => ({ topic, key, epoch })))
      yield* sql`select release_events(${owner}, ${given}::text::jsonb, ${interval(delay)}::text::interval)`
    }, unavailable)

    const park: EventOutbox["Service"]["park"] = Effect.fnUntraced(function* (owner, lease, sequence, reason) {
      const rows = yield* sql<{ parked: boolean }>`select park_event(${owner}, ${lease.topic}, ${lease.key},
        ${lease.epoch}::bigint, ${sequence}::bigint, ${reason.slice(0, reasonMax)}) as parked`
      return rows[0]?.parked === true
    }, unavailable)

    const redrive: EventOutbox["Service"]["redrive"] = Effect.fnUntraced(function* (topic, key) {
      const rows = yield* sql<{ freed: boolean }>`select redrive_events(${topic}, ${key}) as freed`
      return rows[0]?.freed === true
    }, unavailable)

    const backlog: EventOutbox["Service"]["backlog"] = Effect.gen(function* () {
      const [row] = yield* sql<{ waiting: number; parked: number }>`select
        (select coalesce(sum(ready_seq - published_seq), 0)::float8 from event_streams
          where published_seq < ready_seq) as waiting,
        (select coalesce(sum(last_seq - ready_seq), 0)::float8 from event_streams
          where parked_at is not null) as parked`
      return row ?? { waiting: 0, parked: 0 }
    }).pipe(unavailable)

    return EventOutbox.of({ stage, claim, forget, release, park, redrive, backlog })
  })

export const layerWith = (bounds: ClaimBounds) => Layer.effect(EventOutbox, make(bounds))

export const layer = Layer.unwrap(
  Settings.useSync(({ relayLease }) => layerWith({ ...claimBounds, lease: relayLease }))
)

/** Of a reason that is kept in a row. */
const reasonMax = 2000

const interval = (duration: Duration.Duration) => `${Duration.toMillis(duration)} milliseconds`

const nameOf = (one: { readonly topic: string; readonly key: string }) => `${one.topic}\0${one.key}`

const unavailable = <A, R>(
  effect: Effect.Effect<A, EventOutboxError | SqlError.SqlError, R>
): Effect.Effect<A, EventOutboxError, R> =>
  Effect.mapError(effect, (error) =>
    error._tag === "EventOutboxError"
      ? error
      : new EventOutboxError({ reason: new OutboxUnavailable({ cause: error }) })
  )

/** Rows come in the order of streams, then sequences. */
const claimsOf = (rows: ReadonlyArray<ClaimedRow>): ReadonlyArray<Claim> => {
  const claims: Array<Omit<Claim, "events"> & { readonly events: [StagedEvent, ...Array<StagedEvent>] }> = []
  for (const row of rows) {
    const event: StagedEvent = {
      topic: row.topic,
      key: row.key,
      id: row.event_id,
      type: row.type,
      headers: row.headers,
      payload: row.payload,
      sequence: Number(row.seq),
      previous: Number(row.previous_seq),
      stagedAtMillis: row.staged_at.getTime()
    }
    const last = claims.at(-1)
    if (last !== undefined && last.topic === row.topic && last.key === row.key) last.events.push(event)
    else claims.push({ topic: row.topic, key: row.key, epoch: Number(row.epoch), events: [event] })
  }
  return claims
}
