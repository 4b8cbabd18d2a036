import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"

import { Scope } from "../../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import * as DevelopmentKey from "../../src/layers/access/DevelopmentKey.ts"
import * as MemoryApiKeys from "../../src/layers/access/MemoryApiKeys.ts"
import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import { act } from "./ApiKeys.suite.ts"

const file = Effect.acquireRelease(
  Effect.sync(() => path.join(fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-dev-env-")), "dev.env")),
  (file) => Effect.sync(() => fs.rmSync(path.dirname(file), { recursive: true, force: true }))
)

const onNewKeys = <A, E>(effect: Effect.Effect<A, E, ApiKeys>) =>
  Effect.provide(effect, Layer.fresh(MemoryApiKeys.layer.pipe(Layer.provide(MemoryAuditLog.layer))))

/** A start of the suite: the key it ends up with, which it writes down. */
const start = Effect.fnUntraced(function* (file: string) {
  const key = Redacted.value(yield* DevelopmentKey.ensure(file))
  yield* DevelopmentKey.write(file, { CRIBWORK_URL: "http://127.0.0.1:8080", CRIBWORK_API_KEY: key })
  return key
})

describe("DevelopmentKey", () => {
  it.effect("is made once, opens everything, and later starts find it in the file", () =>
    Effect.gen(function* () {
      const keys = yield* ApiKeys
      const env = yield* file
      const key = yield* start(env)
      assert.strictEqual(yield* start(env), key)
      assert.strictEqual((yield* keys.list).length, 1)
      assert.deepStrictEqual((yield* keys.authenticate(key)).scopes, new Set(Scope.literals))
    }).pipe(Effect.scoped, onNewKeys)
  )

  it.effect("is made anew when the one in the file opens nothing: revoked, of another database, or cut short", () =>
    Effect.gen(function* () {
      const env = yield* file
      const other = yield* onNewKeys(start(env))
      const keys = yield* ApiKeys
      const first = yield* start(env)
      assert.notStrictEqual(first, other)
      const [info] = yield* keys.list
      if (info !== undefined) yield* keys.revoke(info.id, act)
      const second = yield* start(env)
      assert.notStrictEqual(second, first)
      fs.writeFileSync(env, `export CRIBWORK_API_KEY='${second.slice(0, 40)}`)
      assert.notStrictEqual(yield* start(env), second)
    }).pipe(Effect.scoped, onNewKeys)
  )

  it.effect("the file is its owner's alone, and a shell reads from it what was written", () =>
    Effect.gen(function* () {
      const env = yield* file
      fs.writeFileSync(env, "", { mode: 0o644 })
      const odd = 'it\'s $HOME "and" `date`'
      yield* DevelopmentKey.write(env, { CRIBWORK_URL: "http://127.0.0.1:1", CRIBWORK_API_KEY: odd })
      assert.strictEqual(fs.statSync(env).mode & 0o777, 0o600)
      assert.deepStrictEqual(fs.readdirSync(path.dirname(env)), ["dev.env"])
      const read = execFileSync("/bin/sh", ["-c", `. "$0"; sh -c 'printf %s "$CRIBWORK_API_KEY"'`, env])
      assert.strictEqual(read.toString(), odd)
    }).pipe(Effect.scoped)
  )
})
