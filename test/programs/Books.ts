/** What the database holds of the money, as its owner reads it: what is settled, and what is not at rest yet. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

import { EventBus } from "../../src/domain/events/EventBus.ts"
import { Ledger } from "../../src/domain/payments/Ledger.ts"
import { topic } from "../../src/domain/payments/Settlement.ts"
import * as SqlLedger from "../../src/layers/payments/SqlLedger.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import { settings } from "../Postgres.ts"
import type { Capture, Charge, Event, Transfer } from "./Reckoning.ts"

/** A bus that says nothing for so long has said all. */
const silence = "2 seconds"

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
      o.psp_key::text as "pspKey" from charges c join operations o on o.charge_id = c.id`
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

/** All that lies on the bus, in its order. */
export const eventsOn = <E>(bus: Layer.Layer<EventBus, E>): Promise<ReadonlyArray<Event>> =>
  Effect.runPromise(
    EventBus.use(({ read }) =>
      read(topic, "earliest").pipe(
        Stream.timeout(silence),
        Stream.map(({ headers, key }) => ({
          id: headers["ce_id"] ?? "",
          type: headers["ce_type"] ?? "",
          charge: key,
          sequence: Number(headers["ce_sequence"])
        })),
        Stream.runCollect
      )
    ).pipe(Effect.provide(bus), Effect.orDie)
  )

export const capturesOf = async (twinUrl: string): Promise<ReadonlyArray<Capture>> => {
  const response = await fetch(`${twinUrl}/_twin/payments`)
  const { data } = (await response.json()) as {
    data: ReadonlyArray<{ psp_key: string; amount: number; currency: string }>
  }
  return data.map(({ psp_key, amount, currency }) => ({ pspKey: psp_key, amount, currency }))
}
