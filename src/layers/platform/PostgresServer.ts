/**
 * One run of a Postgres server, from spawn to exit. A shell holds our pipe; when the pipe closes, even by
 * `kill -9` of this program, it asks Postgres for a fast shutdown. A plain child would live on as an orphan.
 */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"

import { Deferred, Effect, Schedule } from "effect"
import type { Scope } from "effect"

import { EmbeddedPostgresError, failedAt } from "./EmbeddedPostgresError.ts"
import { spawnOptions } from "./PostgresBinaries.ts"
import type { PostgresBinaries } from "./PostgresBinaries.ts"
import { clear, isReady } from "./PostgresFolder.ts"
import type { PostgresFolder } from "./PostgresFolder.ts"

/** Long, since after a crash Postgres first replays its log. */
const readyMax = "2 minutes"
/** How long a fast shutdown may take before it becomes a kill. */
const stopMax = "20 seconds"
/** How much of its log a failure shows. */
const tailLines = 8

// `read` returns when the pipe closes. The reader goes with Postgres, or it would later signal a stranger's pid.
const script = `"$@" 3<&- & pg=$!; { read _; kill -INT $pg; } <&3 2>/dev/null & reader=$!; exec 3<&-; wait $pg; code=$?; kill $reader 2>/dev/null; exit $code`

export interface PostgresServer {
  /** The process that holds the pipe. */
  readonly child: ChildProcess
  /** Done when Postgres has ended, for whatever reason. */
  readonly exited: Effect.Effect<void>
}

/** A server that takes connections on `port` of loopback. It is stopped when the scope closes. */
export const postgresServer = (
  bin: PostgresBinaries,
  folder: PostgresFolder,
  port: number,
  durable: boolean
): Effect.Effect<PostgresServer, EmbeddedPostgresError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* clear(folder.data)
    const exit = yield* Deferred.make<void>()
    const server = yield* Effect.acquireRelease(
      Effect.try({ try: () => start(bin, folder, port, durable, exit), catch: failedAt("start") }),
      stop
    )
    yield* Effect.raceFirst(
      Effect.suspend(() => (isReady(folder.data) ? Effect.void : Effect.fail("not yet" as const))).pipe(
        Effect.retry(Schedule.upTo(Schedule.spaced("20 millis"), { duration: readyMax }))
      ),
      Effect.andThen(server.exited, Effect.fail("ended" as const))
    ).pipe(
      Effect.mapError(
        (why) => new EmbeddedPostgresError({ step: "become ready", detail: `it ${said[why]} ${tail(folder.log)}` })
      )
    )
    return server
  })

const said = { "not yet": "takes longer than we wait:", ended: "ended with:" }

const start = (
  bin: PostgresBinaries,
  { data, log }: PostgresFolder,
  port: number,
  durable: boolean,
  exit: Deferred.Deferred<void>
): PostgresServer => {
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    ...(durable ? [] : ["fsync=off", "full_page_writes=off"])
  ].flatMap((setting) => ["-c", setting])
  const output = fs.openSync(log, "a")
  try {
    const child = spawn(
      "/bin/sh",
      ["-c", script, "postgres", bin.postgres, "-D", data, "-p", String(port), ...settings],
      { ...spawnOptions, detached: true, stdio: ["ignore", output, output, "pipe"] }
    )
    child.once("exit", () => Deferred.doneUnsafe(exit, Effect.void))
    child.once("error", () => Deferred.doneUnsafe(exit, Effect.void))
    return { child, exited: Deferred.await(exit) }
  } finally {
    fs.closeSync(output)
  }
}

const stop = ({ child, exited }: PostgresServer): Effect.Effect<void> =>
  Effect.sync(() => child.stdio[3]?.destroy()).pipe(
    Effect.andThen(Effect.interruptible(exited)),
    Effect.timeoutOrElse({
      duration: stopMax,
      orElse: () =>
        Effect.andThen(
          Effect.logWarning(`Postgres does not stop within ${stopMax}; killing it`),
          Effect.andThen(
            // To the whole group: shell, reader, postmaster. Its backends see it die and follow; the log of writes is whole.
            Effect.sync(() => process.kill(-(child.pid ?? 0), "SIGKILL")),
            exited
          )
        )
    })
  )

const tail = (log: string): string => {
  const lines = fs.readFileSync(log, "utf8").trimEnd().split("\n").slice(-tailLines)
  return ["", ...lines, `(all of it is in ${log})`].join("\n  ")
}
