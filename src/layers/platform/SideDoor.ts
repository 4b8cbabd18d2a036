/**
 * The way to Postgres that no breaker guards, as the role `cribwork_app`, for what operators do about breakers:
 * behind the breaker of Postgres, an order about that very breaker could neither be read nor lifted. It has two
 * connections of its own, opened when they are needed, so that it also opens while everybody else waits for
 * one. They pipeline, so that whoever asks in vain can turn away at once: a statement that has a connection to
 * itself is cancelled first, for which a Postgres that hangs lets one wait. Nothing but levers and gauges
 * belongs behind it.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Layer } from "effect"
import type { Redacted } from "effect"
import { SqlClient } from "effect/sql"

import { appRole } from "./Postgres.ts"
import { Settings } from "./Settings.ts"

export class SideDoor extends Context.Service<SideDoor, SqlClient.SqlClient>()("cribwork/platform/SideDoor") {}

const connectionsMax = 2

/** Whoever pulls a lever waits no longer than this for it to move. */
const statementMax = Duration.seconds(2)

export const layer = (url: Redacted.Redacted) =>
  Layer.effect(SideDoor, SqlClient.SqlClient).pipe(
    Layer.provide(
      Layer.unwrap(
        Settings.useSync(({ databaseConnectTimeout, service }) => {
          const longest = String(Duration.toMillis(statementMax))
          return PgClient.layer({
            url,
            maxConnections: connectionsMax,
            multiplex: true,
            connectTimeout: Duration.min(databaseConnectTimeout, statementMax),
            applicationName: service,
            startupParameters: {
              role: appRole,
              statement_timeout: longest,
              idle_in_transaction_session_timeout: longest
            }
          })
        })
      )
    )
  )
