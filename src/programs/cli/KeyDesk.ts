/**
 * The keys where they are kept: in the database that `DATABASE_URL` names, else in the embedded one of a suite
 * that runs on the same data folder, so that who has only run `npm start` can make keys beside it.
 */
import { Data, Effect, Layer, Option, Redacted } from "effect"

import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import * as SqlApiKeys from "../../layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../layers/access/SqlAuditLog.ts"
import * as EmbeddedPostgres from "../../layers/platform/EmbeddedPostgres.ts"
import * as Migrations from "../../layers/platform/Migrations.ts"
import * as Postgres from "../../layers/platform/Postgres.ts"
import { Settings } from "../../layers/platform/Settings.ts"

/** Neither named nor running. */
export class NoDatabase extends Data.TaggedError("NoDatabase")<{ readonly dataDir: string }> {
  override get message(): string {
    return [
      "Keys are kept in the database, and there is none:",
      `DATABASE_URL is not set, and no suite runs on ${this.dataDir}.`,
      "Leave `npm start` running in another terminal, or set DATABASE_URL."
    ].join("\n  ")
  }
}

/** It does not answer, or does not let us in. */
export class DatabaseUnusable extends Data.TaggedError("DatabaseUnusable")<{
  readonly host: string
  readonly why: string
  /** It answers, but has no schema of ours. */
  readonly isNeverMigrated: boolean
}> {
  override get message(): string {
    return `The database at ${this.host} cannot be used: ${this.why}.`
  }
}

export const layer: Layer.Layer<ApiKeys, NoDatabase | DatabaseUnusable | Migrations.MigrationsError, Settings> =
  Layer.unwrap(
    Effect.gen(function* () {
      const { databaseUrl, dataDir } = yield* Settings
      const url = Option.isSome(databaseUrl) ? databaseUrl : yield* EmbeddedPostgres.running
      if (Option.isNone(url)) return yield* new NoDatabase({ dataDir })
      const { host } = new URL(Redacted.value(url.value))
      const database = Postgres.layer(url.value)
      return SqlApiKeys.layer.pipe(
        Layer.provide(SqlAuditLog.layer),
        Layer.provide(Layer.effectDiscard(Migrations.verify()).pipe(Layer.provideMerge(database))),
        Layer.catchTag("SqlError", (error) =>
          Layer.effect(
            ApiKeys,
            Effect.fail(
              new DatabaseUnusable({
                host,
                why: Postgres.whyOf(error),
                isNeverMigrated: Postgres.isNeverMigrated(error)
              })
            )
          )
        )
      )
    })
  )
