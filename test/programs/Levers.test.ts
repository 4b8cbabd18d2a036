import { assert, layer } from "@effect/vitest"
import { DateTime, Duration, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"

import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import { TenantId, UserId } from "../../src/domain/Ids.ts"
import * as SqlApiKeys from "../../src/layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import * as Levers from "../../src/programs/stacks/Levers.ts"
import { settings, testDatabase } from "../Postgres.ts"

/** The way that everybody takes leads nowhere; the side door to the database. */
const nowhere = Postgres.layer(Redacted.make("postgres://nobody@127.0.0.1:9/nothing"))
const breakers = MemoryBreakers.layer.pipe(Layer.provide(settings))
const keys = Levers.keys.pipe(
  Layer.provide(Layer.fresh(SqlAuditLog.layer)),
  Layer.provide(nowhere),
  Layer.provide(settings)
)

/** As somebody made it while all was well. */
const newToken = Effect.gen(function* () {
  const { token } = yield* (yield* ApiKeys).create(
    {
      tenant: TenantId.make("house"),
      user: UserId.make("olga"),
      scopes: ["ops:admin"],
      plan: "generous",
      operator: true
    },
    { actor: "test", why: "test" }
  )
  return token
}).pipe(
  Effect.provide(
    Layer.fresh(SqlApiKeys.layer).pipe(Layer.provide(Layer.fresh(SqlAuditLog.layer)), Layer.provide(settings))
  )
)

layer(keys.pipe(Layer.provideMerge(Layer.merge(breakers, testDatabase))), {
  excludeTestServices: true,
  timeout: "60 seconds"
})("Levers", (it) => {
  it.effect("keys are checked past the breaker of Postgres while it is ordered open, and only then", () =>
    Effect.gen(function* () {
      const [breakers, keys, sql] = [yield* Breakers, yield* ApiKeys, yield* SqlClient.SqlClient]
      assert.lengthOf(yield* sql`select 1`, 1)
      const token = yield* newToken
      yield* breakers.declare(Dependency.make("postgres", "postgres", { timeout: Duration.seconds(1) }))
      const until = DateTime.addDuration(yield* DateTime.now, Duration.minutes(1))
      const refusal = Effect.map(Effect.flip(keys.authenticate(token)), ({ _tag }) => _tag)

      assert.strictEqual(yield* refusal, "AccessUnavailable")
      yield* breakers.force("postgres", { to: "open", until })
      assert.strictEqual((yield* keys.authenticate(token)).user, "olga")
      const wrong = yield* Effect.flip(keys.authenticate(`cw_${"0".repeat(16)}_${"0".repeat(64)}`))
      assert.strictEqual(wrong._tag, "UnknownKey")
      yield* breakers.force("postgres", undefined)
      assert.strictEqual(yield* refusal, "AccessUnavailable")
      yield* breakers.force("postgres", { to: "closed", until })
      assert.strictEqual(yield* refusal, "AccessUnavailable")
    })
  )
})
