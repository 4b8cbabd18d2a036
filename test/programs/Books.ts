/** What the database holds of the money, as its owner reads it: what is settled, and what is not at rest yet. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

import { EventBus, type ReadRecord } from "../../src/domain/events/EventBus.ts"
import { Ledger } from "../../src/domain/payments/Ledger.ts"
import { topic } from "../../src/domain/payments/Settlement.ts"
import * as SqlLedger from "../../src/layers/payments/SqlLedger.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import { settings } from "../Postgres.ts"
import { until } from "../support/Program.ts"
import type { Capture, Charge, Event, Transfer } from "./Reckoning.ts"

/** How long the bus may take to tell all. */
const announcedMillis = 20_000
/** A bus that says nothing for so long has said all. */
const silenceMillis = 1000

const ask = <A>(url: string, use: (sql: SqlClient.SqlClient) => Effect.Effect<A, SqlError.SqlError>): Promise<A> =>
  Effect.runPromise(
    SqlClient.SqlClient.use(use).pipe(
      Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })),
      Effect.orDie
    )
  )

export const chargesIn = (url: string) =>
  ask(
    url,
    (sql) => sql<Charge>`select c.id::text, c.tenant_id as tenant, o.key::text, c.state, c.amount::float8, c.currency,
      o.psp_key::text as "pspKey",
      (select count(*)::int from psp_attempts a where a.operation_id = o.id) as attempts from charges c join operations o on o.charge_id = c.id`
  )

export const transfersIn = (url: string) =>
  ask(
    url,
    (sql) => sql<Transfer>`select t.kind, o.charge_id::text as charge, t.amount::float8
      from transfers t join operations o on o.id = t.operation_id`
  )

/** Whatever is still under way, and nothing once all is at rest. */
export const unrestIn = (url: string) =>
  ask(
    url,
    (sql) => sql<{ what: string; n: number }>`select * from (
      select 'command ' || state as what, count(*)::int as n from psp_commands group by state
      union all select 'charge ' || state, count(*)::int from charges where state not in ('succeeded', 'failed') group by state
      union all select 'event staged', count(*)::int from outbox_events
      union all select 'stream waiting', count(*)::int from event_streams where published_seq < last_seq
      union all select 'stream leased', count(*)::int from event_streams where lease_owner is not null
      union all select 'stream parked', count(*)::int from event_streams where parked_at is not null
      union all select 'account held', count(*)::int from accounts where held_debits > 0 or held_credits > 0
      union all select 'key without outcome', count(*)::int from idempotency_keys where outcome is null
    ) unrest where n > 0`
  )

/** Currencies whose sums do not balance, or some of whose accounts are not the fold of their transfers. */
export const unbalancedIn = (url: string) =>
  Effect.runPromise(
    Ledger.use(({ audit }) => audit).pipe(
      Effect.map((rows) =>
        rows.filter(
          (row) =>
            row.postedDebits !== row.postedCredits || row.heldDebits !== 0n || row.heldCredits !== 0n || row.astray > 0
        )
      ),
      Effect.provide(SqlLedger.layer.pipe(Layer.provide(Postgres.layer(Redacted.make(url))), Layer.provide(settings)))
    )
  )

/**
 * All that lies on the bus, in its order: whatever comes until each of these charges was announced, and until
 * nothing more comes for a while. What is missing then is missing.
 */
export const eventsOn = async <E>(
  bus: Layer.Layer<EventBus, E>,
  charges: ReadonlySet<string>
): Promise<ReadonlyArray<Event>> => {
  const events: Array<Event> = []
  const announced = new Set<string>()
  let heardAt = performance.now()
  const hear = ({ headers, key }: ReadRecord) =>
    Effect.sync(() => {
      heardAt = performance.now()
      announced.add(key)
      events.push({
        id: headers["ce_id"] ?? "",
        type: headers["ce_type"] ?? "",
        charge: key,
        sequence: Number(headers["ce_sequence"])
      })
    })
  const all = until("all is announced", announcedMillis, () => [...charges].every((id) => announced.has(id))).catch(
    () => undefined
  )
  const silent = all.then(() => until("silence", announcedMillis, () => performance.now() - heardAt > silenceMillis))
  await Effect.runPromise(
    EventBus.use(({ read }) => Stream.runForEach(read(topic, "earliest"), hear)).pipe(
      Effect.raceFirst(Effect.promise(() => silent)),
      Effect.provide(bus),
      Effect.orDie
    )
  )
  return events
}

export const capturesOf = async (twinUrl: string): Promise<ReadonlyArray<Capture>> => {
  const response = await fetch(`${twinUrl}/_twin/payments`)
  const { data } = (await response.json()) as {
    data: ReadonlyArray<{ psp_key: string; amount: number; currency: string; sends: number }>
  }
  return data.map(({ psp_key, ...rest }) => ({ pspKey: psp_key, ...rest }))
}
