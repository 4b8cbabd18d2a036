/**
 * A house that needs nothing: each box whose server is not named is filled by something real of our own, a
 * Postgres from npm under the data folder, limits in the process, an event log in Postgres, the provider's
 * twin as a process on loopback.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Option } from "effect"

import * as SqlEventBus from "../../layers/events/SqlEventBus.ts"
import * as HttpPsp from "../../layers/payments/HttpPsp.ts"
import * as TwinProcess from "../../layers/payments/TwinProcess.ts"
import * as EmbeddedPostgres from "../../layers/platform/EmbeddedPostgres.ts"
import * as GuardedPostgres from "../../layers/platform/GuardedPostgres.ts"
import * as Migrations from "../../layers/platform/Migrations.ts"
import * as Postgres from "../../layers/platform/Postgres.ts"
import { Settings } from "../../layers/platform/Settings.ts"
import * as SideDoor from "../../layers/platform/SideDoor.ts"
import * as Sql from "./Sql.ts"
import { type Stack, whenSet } from "./Stack.ts"

export const make = (options: { readonly fresh: boolean }) => {
  const named = Layer.effect(
    EmbeddedPostgres.PostgresUrl,
    Settings.use(({ databaseUrl }) => Effect.orDie(Effect.fromOption(databaseUrl)))
  )
  const postgres = whenSet(Sql.databaseUrl, named, EmbeddedPostgres.layer({ fresh: options.fresh, durable: true }))
  /** As the schema's owner, on a connection of its own that closes when they are done. */
  const migrations = Layer.unwrap(
    Effect.gen(function* () {
      const { migrateUrl } = yield* Settings
      const postgresUrl = yield* EmbeddedPostgres.PostgresUrl
      const url = Option.getOrElse(migrateUrl, () => postgresUrl)
      return Migrations.layer.pipe(Layer.provide(PgClient.layer({ url, maxConnections: 1 })))
    })
  )
  const database = Layer.unwrap(
    Effect.map(EmbeddedPostgres.PostgresUrl, (url) =>
      Layer.merge(GuardedPostgres.layer.pipe(Layer.provide(Postgres.layer(url))), SideDoor.layer(url))
    )
  ).pipe(Layer.provide(migrations), Layer.provideMerge(postgres))
  const twin = HttpPsp.layer.pipe(Layer.provideMerge(TwinProcess.layer))
  return {
    books: Sql.books.pipe(Layer.provideMerge(database)),
    limiter: Sql.limiter,
    bus: whenSet(Sql.kafkaBrokers, Sql.kafka, SqlEventBus.layer(Sql.topics).pipe(Layer.provide(database))),
    provider: whenSet(Sql.pspUrl, Sql.provider, twin)
  } satisfies Stack<unknown>
}
