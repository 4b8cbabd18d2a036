/** The programs by their other name: the same processes, down to signals and exit codes. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"

import { emptyDatabase, migratedDatabase } from "../Postgres.ts"
import { root, run } from "../support/Run.ts"
import { cribwork, program } from "./Command.ts"

/** A provider that is not there: the API starts all the same, and asks it only about cards. */
const nobody = "http://127.0.0.1:9"

describe("cribwork serve, worker, relay and migrate", () => {
  it.live("refuse to start without their servers, in the words and with the code of the programs themselves", () =>
    Effect.gen(function* () {
      for (const [command, file] of [
        ["serve", "api"],
        ["worker", "worker"],
        ["relay", "relay"],
        ["migrate", "migrate"]
      ] as const) {
        const ended = yield* cribwork([command])
        assert.deepStrictEqual([ended.code, ended.stdout], [2, ""])
        assert.match(ended.stderr, new RegExp(`^${file}: These settings are wrong:`))
        assert.deepStrictEqual(
          ended,
          yield* Effect.promise(() => run(process.execPath, [`${root}src/programs/${file}.ts`]))
        )
      }
    })
  )

  it.live("say what the network said of a database that does not answer, and end with 1", () =>
    Effect.gen(function* () {
      const { code, stderr } = yield* cribwork(["serve"], {
        DATABASE_URL: "postgres://ada:hunter2@127.0.0.1:1000/x",
        PSP_URL: nobody
      })
      assert.strictEqual(code, 1)
      assert.match(stderr, /^api: the database cannot be used: .*ECONNREFUSED/)
      assert.notInclude(stderr, "hunter2")
    })
  )

  it.live("migrate brings an empty database to this schema, and says what it did", () =>
    Effect.gen(function* () {
      const env = { DATABASE_URL: Redacted.value(yield* emptyDatabase) }
      const first = yield* cribwork(["migrate"], env)
      assert.deepStrictEqual([first.code, first.stderr], [0, ""])
      assert.match(first.stdout, /migration 1 of \d+: 0001_roles\.sql/)
      assert.match(first.stdout, /\d+ applied/)
      const second = yield* cribwork(["migrate"], env)
      assert.strictEqual(second.code, 0)
      assert.include(second.stdout, "nothing to apply")
      assert.strictEqual((yield* cribwork(["keys", "list"], env)).code, 0)
    }).pipe(Effect.scoped)
  )

  it.live("serve says where it listens, answers until it is told to stop, and ends with 0", () =>
    Effect.gen(function* () {
      const { PATH } = process.env
      const database = Redacted.value(yield* migratedDatabase)
      const env = { PATH, DATABASE_URL: database, PSP_URL: nobody, PORT: "0", LOG_FORMAT: "json" }
      const serve = yield* Effect.acquireRelease(
        Effect.sync(() => spawn(process.execPath, [program, "serve"], { env, stdio: ["ignore", "pipe", "inherit"] })),
        (serve) => Effect.sync(() => serve.kill("SIGKILL"))
      )
      const ended = Effect.promise(() => once(serve, "exit"))
      const url = yield* Effect.promise(() => listensAt(serve.stdout))
      assert.strictEqual(yield* Effect.promise(() => statusOf(`${url}/health/ready`)), 200)
      serve.kill("SIGTERM")
      assert.deepStrictEqual(yield* ended, [0, null])
    }).pipe(Effect.scoped)
  )
})

const statusOf = async (url: string) => (await fetch(url)).status

const listensAt = async (log: Readable): Promise<string> => {
  for await (const line of createInterface(log)) {
    const url = /http:\/\/[\d.]+:\d+/.exec(line)?.[0]
    if (url !== undefined) return url
  }
  return "it ended"
}
