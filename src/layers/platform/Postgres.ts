/**
 * The two ways this process talks to Postgres, both as the role `cribwork_app`. `SqlClient` has a
 * connection to itself for as long as a statement or transaction runs; `Reads` pipelines the single
 * statements of many fibers over few connections, at about a third of the CPU, and must never wait for a
 * lock, since everyone behind it would wait too.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Layer } from "effect"
import type { Redacted } from "effect"
import { SqlClient, type SqlError } from "effect/sql"

import { Settings } from "./Settings.ts"

/** What programs may do, as opposed to what `migrate` may. */
export const appRole = "cribwork_app"

/** What Postgres or the network said, without the wrapping; in words for who starts a program. */
export const whyOf = ({ reason }: SqlError.SqlError): string => {
  const said = reason.cause instanceof Error && reason.cause.message !== "" ? reason.cause.message : reason.message
  return lacksRole(said) ? `it was never migrated (${said}): run \`cribwork migrate\`` : said
}

/** The first migration makes the role that all programs work as. */
const lacksRole = (said: string) => said.includes(`role "${appRole}" does not exist`)

export const isNeverMigrated = (error: SqlError.SqlError): boolean => lacksRole(String(error.reason.cause))

/**
 * How long one call to Postgres may take where its caller gives up sooner than a statement ends: less than the
 * caller waits, so that it is the call that fails, and counts, and not the caller that leaves.
 */
export const CallMax = Context.Reference<Duration.Duration | undefined>("cribwork/platform/Postgres/CallMax", {
  defaultValue: () => undefined
})

/** A client for single statements that wait for no lock. */
export class Reads extends Context.Service<Reads, SqlClient.SqlClient>()("cribwork/platform/Postgres/Reads") {}

export const layer = (url: Redacted.Redacted) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const { databasePool, databaseConnectTimeout, databaseStatementTimeout, service } = yield* Settings
      const longest = String(Math.ceil(Duration.toMillis(databaseStatementTimeout)))
      const common = {
        url,
        maxConnections: databasePool,
        connectTimeout: databaseConnectTimeout,
        applicationName: service,
        startupParameters: {
          role: appRole,
          statement_timeout: longest,
          idle_in_transaction_session_timeout: longest
        }
      }
      return Layer.merge(
        PgClient.layer(common),
        Layer.effect(Reads, SqlClient.SqlClient).pipe(
          Layer.provide(Layer.fresh(PgClient.layer({ ...common, multiplex: true })))
        )
      )
    })
  )
