/** The payment ports on each of their adapters, with a way to let time pass for the rows of each. */
import type { PgClient } from "@effect/sql-pg"
import { ConfigProvider, Duration, Effect, Layer } from "effect"
import type { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"

import { claimBounds } from "../../src/domain/events/EventOutbox.ts"
import * as MemoryEventOutbox from "../../src/layers/events/MemoryEventOutbox.ts"
import * as MemoryBooks from "../../src/layers/payments/MemoryBooks.ts"
import * as MemoryCharges from "../../src/layers/payments/MemoryCharges.ts"
import * as MemoryIdempotencyStore from "../../src/layers/payments/MemoryIdempotencyStore.ts"
import * as MemoryLedger from "../../src/layers/payments/MemoryLedger.ts"
import * as MemoryOutbox from "../../src/layers/payments/MemoryOutbox.ts"
import * as SqlCharges from "../../src/layers/payments/SqlCharges.ts"
import * as SqlIdempotencyStore from "../../src/layers/payments/SqlIdempotencyStore.ts"
import * as SqlLedger from "../../src/layers/payments/SqlLedger.ts"
import * as SqlOutbox from "../../src/layers/payments/SqlOutbox.ts"
import type { Reads } from "../../src/layers/platform/Postgres.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { PassTime } from "./intents.ts"

export const settings = (environment: Record<string, string> = {}) =>
  Settings.layer.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(environment))))

export const memory = Layer.mergeAll(
  MemoryCharges.layer,
  MemoryOutbox.layer,
  MemoryLedger.layer,
  MemoryIdempotencyStore.layer
).pipe(
  Layer.provide(MemoryBooks.layer),
  Layer.provideMerge(MemoryEventOutbox.layerWith(claimBounds)),
  Layer.provide(settings()),
  Layer.provideMerge(Layer.succeed(PassTime, TestClock.adjust))
)

/** Real clocks do not wait for tests: the rows are moved into the past instead. */
const agedByOwner = Layer.effect(
  PassTime,
  Effect.map(Owner, (sql) => (duration: Duration.Input) => {
    const ago = `${Duration.toMillis(Duration.fromInputUnsafe(duration))} milliseconds`
    return Effect.all([
      sql`update idempotency_keys set expires_at = expires_at - ${ago}::text::interval`,
      sql`update tombstones set forget_at = forget_at - ${ago}::text::interval`,
      sql`update psp_commands set available_at = available_at - ${ago}::text::interval where state <> 'dead'`,
      sql`update operations set first_sent_at = first_sent_at - ${ago}::text::interval`
    ]).pipe(Effect.asVoid, Effect.orDie)
  })
)

const sqlOn = <A extends PgClient.PgClient | SqlClient.SqlClient | Reads | Owner, E>(database: Layer.Layer<A, E>) =>
  Layer.mergeAll(SqlCharges.layer, SqlOutbox.layer, SqlLedger.layer, SqlIdempotencyStore.layer, agedByOwner).pipe(
    Layer.provideMerge(database),
    Layer.provide(settings())
  )

export const sql = sqlOn(testDatabase)
export const liveSql = (server: string) => sqlOn(liveDatabase(server))
