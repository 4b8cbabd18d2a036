/**
 * POST of charges under fresh keys on the embedded Postgres, durable: the program `api` as it is shipped against
 * fastify with a hand-written transaction a charge. Each has a database of its own on one server, of the same
 * schema, emptied and checkpointed before every slice. No worker runs: accepting is what is measured.
 */
import { PgClient } from "@effect/sql-pg"
import { ConfigProvider, Effect, Layer, ManagedRuntime, Redacted, Schedule } from "effect"
import { SqlClient } from "effect/sql"

import { ApiKeys } from "../src/domain/access/ApiKeys.ts"
import { TenantId, UserId } from "../src/domain/Ids.ts"
import * as SqlApiKeys from "../src/layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../src/layers/access/SqlAuditLog.ts"
import * as EmbeddedPostgres from "../src/layers/platform/EmbeddedPostgres.ts"
import * as Migrations from "../src/layers/platform/Migrations.ts"
import * as Postgres from "../src/layers/platform/Postgres.ts"
import * as Settings from "../src/layers/platform/Settings.ts"
import { parentOf } from "./Machine.ts"
import type { Given, Key } from "./peers/Ground.ts"
import { cost, freePort, generate, heard, interleaved, isUp, median, rate, ratio, start, stop } from "./Rounds.ts"

export const packages = ["effect", "@effect/sql-pg", "fastify", "postgres"]

const rounds = 5
const warmMillis = 500
const millis = 1000
const folder = ".cribwork/bench"
/** Both servers'. The house has as many again for reads, which accepting does not use. */
const pool = 8
const tenants = 16
const cells = [
  { name: `${tenants} tenants`, tenants, connections: 32 },
  { name: `${tenants} tenants`, tenants, connections: 64 },
  { name: "one tenant", tenants: 1, connections: 32 },
  { name: "one tenant", tenants: 1, connections: 64 }
]

export const settings = `${rounds} rounds there and back, ${millis} ms each after ${warmMillis} ms of warming; Postgres 18 with fsync, ${pool} connections each; no worker`

const names = ["house", "transaction"] as const
type Name = (typeof names)[number]

const settled = Settings.layer.pipe(
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ CRIBWORK_DATA: folder })))
)

const owner = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })

const database = (server: string, name: string) =>
  Effect.gen(function* () {
    yield* SqlClient.SqlClient.use((sql) => sql.unsafe(`create database ${name}`).unprepared).pipe(
      Effect.provide(owner(server))
    )
    const url = new URL(server)
    url.pathname = `/${name}`
    yield* Effect.provide(Migrations.apply(), owner(url.href))
    return url.href
  })

const keysIn = (url: string) =>
  Effect.gen(function* () {
    const keys = yield* ApiKeys
    return yield* Effect.forEach(Array.from({ length: tenants }), (_, place) =>
      Effect.map(
        keys.create(
          {
            tenant: TenantId.make(`tenant-${place}`),
            user: UserId.make("u"),
            scopes: ["charges:write"],
            plan: "generous",
            operator: false
          },
          { actor: "bench", why: "a key to measure with" }
        ),
        ({ info, token }): Key => ({ ...info, token: Redacted.value(token) })
      )
    )
  }).pipe(
    Effect.provide(
      SqlApiKeys.layer.pipe(
        Layer.provide(SqlAuditLog.layer),
        Layer.provide(Postgres.layer(Redacted.make(url))),
        Layer.provide(settled)
      )
    )
  )

/** As the owner, with triggers off: history may not be emptied otherwise. */
const emptied = (url: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    // What the slice before left on its way arrives first.
    yield* sql`select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
      and state <> 'idle'`.pipe(
      Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (busy) => busy.length === 0 })
    )
    yield* sql`set session_replication_role = replica`
    yield* sql`truncate charges, operations, idempotency_keys, tombstones, psp_commands, psp_attempts, transfers, accounts`
    yield* sql`vacuum analyze accounts`
    yield* sql`checkpoint`
  }).pipe(Effect.provide(owner(url)))

/** The first process of a Postgres, whose children do the work: the parent of whoever answers. */
const postmasterOf = (server: string) =>
  Effect.gen(function* () {
    const [row] = yield* (yield* SqlClient.SqlClient)<{ readonly pid: number }>`select pg_backend_pid() as pid`
    return parentOf(row?.pid ?? 0)
  }).pipe(Effect.provide(owner(server)))

/** That every charge left all of its rows, and that the ledger is the fold of its transfers. */
const rowsIn = (url: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql`select (select count(*)::int from charges) as charges,
      (select count(*)::int from idempotency_keys) as keys, (select count(*)::int from operations) as operations,
      (select count(*)::int from transfers) as transfers, (select count(*)::int from psp_commands) as commands,
      (select count(*)::int from accounts_astray) as astray`
    return row as Readonly<Record<string, number>>
  }).pipe(Effect.provide(owner(url)))

const checkRows = ({ astray, ...rows }: Readonly<Record<string, number>>) => {
  if (new Set(Object.values(rows)).size !== 1 || astray !== 0) {
    throw new Error(`a charge is not whole: ${JSON.stringify({ ...rows, astray })}`)
  }
}

export const run = async (profile: ReadonlyArray<string>): Promise<string> => {
  const postgres = ManagedRuntime.make(
    EmbeddedPostgres.layer({ fresh: true, durable: true }).pipe(Layer.provide(settled))
  )
  try {
    const server = Redacted.value(await postgres.runPromise(EmbeddedPostgres.PostgresUrl))
    const urls: Readonly<Record<Name, string>> = {
      house: await postgres.runPromise(database(server, "house")),
      transaction: await postgres.runPromise(database(server, "transaction"))
    }
    const postmaster = await postgres.runPromise(postmasterOf(server))
    const keys = await postgres.runPromise(keysIn(urls.house))
    const port = await freePort()
    const house = start(
      "../src/programs/api.ts",
      { DATABASE_URL: urls.house, PORT: String(port), DATABASE_POOL: String(pool), LOG_LEVEL: "warn" },
      profile
    )
    const given: Given = { keys, databaseUrl: urls.transaction, pool }
    const transaction = start("./peers/transaction.ts", { BENCH_GIVEN: JSON.stringify(given) })
    const generator = start("./load.ts", {})
    try {
      await isUp(port)
      const ports = { house: port, transaction: (await heard<{ readonly port: number }>(transaction)).port }
      const pids = { house: house.pid ?? 0, transaction: transaction.pid ?? 0 }
      const lines: Array<string> = []
      for (const { connections, name, tenants } of cells) {
        const figures = await interleaved(names, rounds, async (one) => {
          await postgres.runPromise(emptied(urls[one]))
          const measured = await generate(generator, {
            port: ports[one],
            connections,
            tokens: keys.slice(0, tenants).map(({ token }) => token),
            kind: "charge",
            path: "",
            warmMillis,
            millis,
            watched: {
              server: { pid: pids[one], family: false },
              postgres: { pid: postmaster, family: true }
            }
          })
          checkRows(await postgres.runPromise(rowsIn(urls[one])))
          return measured
        })
        for (const one of names) {
          const own = figures[one]
          const pace = ratio(figures.house, own, (a, b) => rate(a) / rate(b))
          const cpu = ratio(figures.house, own, (a, b) => cost("server", "postgres")(b) / cost("server", "postgres")(a))
          lines.push(
            `| ${name}, ${connections} | ${one} | ${Math.round(median(own.map(rate)))} | ${pace.toFixed(2)} | ${Math.round(median(own.map(cost("server"))))} | ${Math.round(median(own.map(cost("postgres"))))} | ${cpu.toFixed(2)} | ${median(own.map(({ p50 }) => p50)).toFixed(1)} | ${median(own.map(({ p99 }) => p99)).toFixed(1)} |`
          )
        }
      }
      return [
        "| who charges, connections | server | charges/s | ours, by rate | server CPU µs | Postgres CPU µs | ours, by CPU | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|---|---|",
        ...lines
      ].join("\n")
    } finally {
      await Promise.all([house, transaction, generator].map(stop))
    }
  } finally {
    await postgres.dispose()
  }
}
