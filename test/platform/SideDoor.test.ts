import { execFileSync } from "node:child_process"
import * as fs from "node:fs"

import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Cause, Clock, ConfigProvider, Effect, Fiber, Layer, Logger } from "effect"

import * as EmbeddedPostgres from "../../src/layers/platform/EmbeddedPostgres.ts"
import * as Migrations from "../../src/layers/platform/Migrations.ts"
import { postmaster } from "../../src/layers/platform/PostgresFolder.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as SideDoor from "../../src/layers/platform/SideDoor.ts"
import { newFolder } from "../support/House.ts"

const folder = newFolder()
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

/** On a server of its own, which can be hung without hanging anybody else. */
const door = Layer.unwrap(
  Effect.map(EmbeddedPostgres.PostgresUrl, (url) =>
    SideDoor.layer(url).pipe(
      Layer.provide(Migrations.layer.pipe(Layer.provide(PgClient.layer({ url, maxConnections: 1 }))))
    )
  )
).pipe(
  Layer.provide(EmbeddedPostgres.layer({ fresh: true, durable: false })),
  Layer.provide([Settings.layer, Logger.layer([])]),
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ CRIBWORK_DATA: folder })))
)

/** The server and all that it has started. */
const signalAll = (name: "SIGSTOP" | "SIGCONT") => {
  const pid = postmaster(`${folder}/postgres`) ?? 0
  const children = execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([child = 0, parent]) => (parent === pid ? [child] : []))
  for (const one of [pid, ...children]) process.kill(one, name)
}

const goesOn = Effect.sync(() => signalAll("SIGCONT"))

/** Longer than who asks would wait: by then the server goes on, so that a test that fails ends. */
const hangMillis = 6000

const hung = Effect.acquireRelease(
  Effect.gen(function* () {
    yield* Effect.sync(() => signalAll("SIGSTOP"))
    return yield* Effect.forkDetach(Effect.andThen(Effect.sleep(hangMillis), goesOn))
  }),
  (watch) => Effect.andThen(Fiber.interrupt(watch), goesOn)
)

describe("SideDoor", () => {
  it.live("whoever asks a Postgres that hangs can turn away at once, and is answered when it is back", () =>
    Effect.gen(function* () {
      const sql = yield* SideDoor.SideDoor
      yield* sql`select 1`
      const since = yield* Clock.currentTimeMillis
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* hung
          for (let look = 0; look < 3; look++) {
            const refused = yield* Effect.flip(Effect.timeout(sql`select 1`, "200 millis"))
            assert.isTrue(Cause.isTimeoutError(refused))
          }
        })
      )
      assert.isBelow((yield* Clock.currentTimeMillis) - since, hangMillis / 2)
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
    }).pipe(Effect.provide(door))
  )
})
