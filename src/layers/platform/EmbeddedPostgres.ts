/**
 * A real Postgres from the npm binaries, for whoever has none: started with this program and stopped with
 * it, however this program ends. If the server itself dies (a `kill -9`, the out-of-memory killer), it is
 * started again on the same data and port, so that clients see broken connections and then their rows.
 */
import { createServer } from "node:net"

import { Clock, Context, Deferred, Duration, Effect, Layer, Metric, Option, Redacted } from "effect"

import { failedAt } from "./EmbeddedPostgresError.ts"
import type { EmbeddedPostgresError } from "./EmbeddedPostgresError.ts"
import { postgresBinaries } from "./PostgresBinaries.ts"
import type { PostgresBinaries } from "./PostgresBinaries.ts"
import { postgresFolder, served } from "./PostgresFolder.ts"
import type { PostgresFolder } from "./PostgresFolder.ts"
import { postgresServer } from "./PostgresServer.ts"
import { Settings } from "./Settings.ts"

/** Where the embedded Postgres listens, as the owner of everything in it. Only this file provides it. */
export class PostgresUrl extends Context.Service<PostgresUrl, Redacted.Redacted>()(
  "cribwork/platform/EmbeddedPostgres/PostgresUrl"
) {}

interface Options {
  /** Wipe what an earlier run left. */
  readonly fresh: boolean
  /** Survive a power cut. Tests say false and start faster. */
  readonly durable: boolean
}

/** Free ports that are tried at the start, since another program may take one between our look and our use. */
const portsMax = 3
/** Pause before a restart: doubles from the first with every death that follows quickly, up to the second. */
const restartPause = { first: Duration.millis(50), most: Duration.seconds(5) }
/** A server that ran this long was well, and its death starts the pauses anew. */
const wellAfter = Duration.seconds(10)

const restarts = Metric.counter("cribwork_platform_postgres_restarts_total", { incremental: true })

const make = (options: Options) =>
  Effect.gen(function* () {
    const settings = yield* Settings
    const bin = yield* postgresBinaries
    const folder = yield* postgresFolder(bin, settings.dataDir, options)
    const ready = yield* Deferred.make<number, EmbeddedPostgresError>()
    yield* supervise(bin, folder, options.durable, ready).pipe(
      Effect.onError((cause) => Deferred.failCause(ready, cause)),
      Effect.forkScoped
    )
    const port = yield* Deferred.await(ready)
    return urlOf(port, folder.password)
  })

const urlOf = (port: number, password: string) =>
  Redacted.make(`postgres://cribwork:${password}@127.0.0.1:${port}/postgres`)

/** The server that another process runs on the same folder, for as long as that process lives. */
export const running: Effect.Effect<Option.Option<Redacted.Redacted>, never, Settings> = Settings.useSync(
  ({ dataDir }) => Option.map(Option.fromUndefinedOr(served(dataDir)), ({ port, password }) => urlOf(port, password))
)

/** Serves until interrupted. `ready` learns the port once, or why there will never be one. */
const supervise = Effect.fnUntraced(function* (
  bin: PostgresBinaries,
  folder: PostgresFolder,
  durable: boolean,
  ready: Deferred.Deferred<number, EmbeddedPostgresError>
) {
  /** Fails if it never took connections; otherwise says, once it ended, how long it served. */
  const serve = (port: number, announce: Effect.Effect<unknown>) =>
    Effect.gen(function* () {
      const server = yield* postgresServer(bin, folder, port, durable)
      yield* announce
      const since = yield* Clock.currentTimeMillis
      yield* server.exited
      return Duration.millis((yield* Clock.currentTimeMillis) - since)
    }).pipe(Effect.scoped)

  let port = 0
  let served = yield* Effect.suspend(() =>
    Effect.flatMap(freePort, (free) => {
      port = free
      return serve(free, Deferred.succeed(ready, free))
    })
  ).pipe(
    Effect.retry({ times: portsMax - 1 }),
    Effect.catch((error) => Effect.as(Deferred.fail(ready, error), undefined))
  )
  if (served === undefined) return

  let pause = restartPause.first
  while (true) {
    if (Duration.isGreaterThan(served, wellAfter)) pause = restartPause.first
    yield* Effect.logWarning(`Postgres ended on its own after ${Duration.format(served)}; starting it again`)
    yield* Metric.update(restarts, 1)
    yield* Effect.sleep(pause)
    pause = Duration.min(Duration.times(pause, 2), restartPause.most)
    served = yield* serve(port, Effect.logInfo("Postgres is back")).pipe(
      Effect.catch((error) => Effect.as(Effect.logError(error.message), Duration.zero))
    )
  }
})

const freePort = Effect.callback<number, EmbeddedPostgresError>((resume) => {
  const probe = createServer()
  probe.once("error", (cause) => resume(Effect.fail(failedAt("find a port")(cause))))
  probe.listen(0, "127.0.0.1", () => {
    const address = probe.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    probe.close(() => resume(Effect.succeed(port)))
  })
})

export const layer = (options: Options): Layer.Layer<PostgresUrl, EmbeddedPostgresError, Settings> =>
  Layer.effect(PostgresUrl, make(options))
