import { assert, describe, it, layer } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Fiber, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"

import type { Caller } from "../../src/domain/access/ApiKey.ts"
import { KeyId } from "../../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { CallerCache } from "../../src/layers/access/CallerCache.ts"
import * as SqlApiKeys from "../../src/layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import { Reads } from "../../src/layers/platform/Postgres.ts"
import { liveDatabase, Owner, settings, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { act, apiKeysSuite, key } from "./ApiKeys.suite.ts"

const adapter = SqlApiKeys.layer.pipe(Layer.provideMerge(SqlAuditLog.layer), Layer.provide(settings))

apiKeysSuite("sql", adapter.pipe(Layer.provide(testDatabase)))
describeLive("ApiKeys (live sql)", ["postgres"], ({ postgres }) =>
  apiKeysSuite("live sql", adapter.pipe(Layer.provide(liveDatabase(postgres))))
)

/** Another process on the same database, whose monotonic clock stands where we put it. */
const otherProcess = (nowNanos: () => bigint) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const context = yield* Layer.build(Layer.fresh(adapter)).pipe(
      Effect.provideService(Clock.Clock, {
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
        currentTimeMillis: clock.currentTimeMillis,
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
        currentTimeNanos: clock.currentTimeNanos,
        monotonicTimeNanosUnsafe: nowNanos,
        monotonicTimeNanos: Effect.sync(nowNanos),
        sleep: (duration) => clock.sleep(duration)
      })
    )
    return yield* Effect.provide(ApiKeys, context)
  })

/** Another process, where whatever Postgres answered to a read arrives after `delay`. */
const processWhere = (delay: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const reads = yield* Reads
    const late = Object.assign(
      (...args: ReadonlyArray<never>) =>
        Effect.tap(Reflect.apply(reads, undefined, args) as ReturnType<SqlClient.SqlClient["unsafe"]>, () => delay),
      reads
    ) as SqlClient.SqlClient
    const context = yield* Layer.build(Layer.fresh(adapter)).pipe(Effect.provideService(Reads, late))
    return Context.get(context, ApiKeys)
  })

/** Runs an effect while the table of keys answers nobody. */
const whileKeysHang = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Owner, (owner) =>
    owner.withTransaction(Effect.andThen(owner`lock table api_keys in access exclusive mode`, effect))
  )

/** How many statements of this database wait for a lock. */
const waiting = Effect.flatMap(
  Owner,
  (owner) =>
    owner<{ n: number }>`select count(*)::int as n from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`
).pipe(Effect.map(([row]) => row?.n ?? 0))

layer(adapter.pipe(Layer.provideMerge(testDatabase)), { excludeTestServices: true, timeout: "60 seconds" })(
  "SqlApiKeys",
  (it) => {
    it.effect("a key revoked in one process opens nothing in another a second later", () =>
      Effect.gen(function* () {
        let now = 5n
        const here = yield* ApiKeys
        const there = yield* otherProcess(() => now)
        const { info, token } = yield* here.create(key(), act)
        yield* there.authenticate(token)
        yield* here.revoke(info.id, act)
        now += 999_999_999n
        yield* there.authenticate(token)
        now += 1n
        assert.strictEqual((yield* Effect.flip(there.authenticate(token)))._tag, "UnknownKey")
      }).pipe(Effect.scoped)
    )

    it.effect("an answer is believed from when it was asked for, not from when it came", () =>
      Effect.gen(function* () {
        let now = 0n
        const there = yield* otherProcess(() => now)
        const { info, token } = yield* there.create(key(), act)
        yield* whileKeysHang(
          Effect.gen(function* () {
            const asked = yield* Effect.forkChild(there.authenticate(token))
            yield* Effect.repeat(waiting, { until: (n) => n === 1 })
            now = 900_000_000n
            return asked
          })
        ).pipe(Effect.flatMap(Fiber.join))
        const here = yield* ApiKeys
        yield* here.revoke(info.id, act)
        now = 1_000_000_000n
        assert.strictEqual((yield* Effect.flip(there.authenticate(token)))._tag, "UnknownKey")
      }).pipe(Effect.scoped)
    )

    it.effect("requests that miss together share one query, and outlive the one that asked first", () =>
      Effect.gen(function* () {
        let queries = 0
        const [answered, arrives] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const keys = yield* processWhere(
          Effect.suspend(() => {
            queries += 1
            return Effect.andThen(Deferred.succeed(answered, undefined), Deferred.await(arrives))
          })
        )
        const { token } = yield* keys.create(key(), act)
        const first = yield* Effect.forkChild(keys.authenticate(token))
        yield* Deferred.await(answered)
        const others = yield* Effect.forEach(Array.from({ length: 50 }), () =>
          Effect.forkChild(keys.authenticate(token), { startImmediately: true })
        )
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(arrives, undefined)
        for (const fiber of others) assert.strictEqual((yield* Fiber.join(fiber)).tenant, "acme")
        assert.strictEqual(queries, 1)
      }).pipe(Effect.scoped)
    )

    it.effect("a revocation here is not undone by an answer that was on its way", () =>
      Effect.gen(function* () {
        const [answered, arrives] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const keys = yield* processWhere(Effect.andThen(Deferred.succeed(answered, undefined), Deferred.await(arrives)))
        const { info, token } = yield* keys.create(key(), act)
        const asked = yield* Effect.forkChild(keys.authenticate(token))
        yield* Deferred.await(answered)
        yield* keys.revoke(info.id, act)
        yield* Deferred.succeed(arrives, undefined)
        yield* Fiber.join(asked)
        assert.strictEqual((yield* Effect.flip(keys.authenticate(token)))._tag, "UnknownKey")
      }).pipe(Effect.scoped)
    )

    it.effect("a store that does not answer in time is no refusal", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const { token } = yield* keys.create(key(), act)
        const failed = yield* whileKeysHang(
          Effect.gen(function* () {
            const asked = yield* Effect.forkChild(Effect.flip(keys.authenticate(token)))
            yield* Effect.repeat(TestClock.withLive(waiting), { until: (n) => n === 1 })
            yield* TestClock.adjust("1900 millis")
            return yield* Fiber.join(asked)
          }).pipe(Effect.provide(TestClock.layer()))
        )
        assert.strictEqual(failed._tag, "AccessUnavailable")
      })
    )

    it.effect("a store that fails is no refusal, and whoever was known stays known", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const owner = yield* Owner
        const [known, unseen] = [yield* keys.create(key(), act), yield* keys.create(key(), act)]
        yield* keys.authenticate(known.token)
        yield* owner`revoke select on api_keys from cribwork_app`
        yield* keys.authenticate(known.token)
        assert.strictEqual((yield* Effect.flip(keys.authenticate(unseen.token)))._tag, "AccessUnavailable")
        yield* owner`grant select on api_keys to cribwork_app`
        yield* keys.authenticate(unseen.token)
      })
    )

    it.effect("an act that cannot be written down does not happen", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const owner = yield* Owner
        const { info, token } = yield* keys.create(key(), act)
        const before = yield* keys.list
        yield* owner`revoke insert on audit_entries from cribwork_app`
        assert.strictEqual((yield* Effect.flip(keys.create(key(), act)))._tag, "AccessUnavailable")
        assert.strictEqual((yield* Effect.flip(keys.revoke(info.id, act)))._tag, "AccessUnavailable")
        yield* owner`grant insert on audit_entries to cribwork_app`
        assert.deepStrictEqual(yield* keys.list, before)
        yield* keys.authenticate(token)
      })
    )

    it.effect("the table holds nothing that opens a door, and programs may only revoke", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const sql = yield* SqlClient.SqlClient
        const owner = yield* Owner
        const { info, token } = yield* keys.create(key(), act)
        const [row] = yield* owner<{ all: string }>`select k::text as all from api_keys k where id = ${info.id}`
        assert.include(row?.all ?? "", info.id)
        assert.notInclude(row?.all ?? "", Redacted.value(token).slice(20))
        for (const change of [
          "update api_keys set scopes = '{ops:read}'",
          "update api_keys set tenant_id = 'other'",
          "delete from api_keys"
        ]) {
          assert.strictEqual((yield* Effect.flip(sql.unsafe(change))).reason._tag, "AuthorizationError", change)
        }
        yield* keys.revoke(info.id, act)
        const undone = yield* Effect.flip(sql`update api_keys set revoked_at = null where id = ${info.id}`)
        assert.strictEqual(undone.reason._tag, "ConstraintError")
        const forged = yield* Effect.flip(
          sql`insert into api_keys (id, token_hash, tenant_id, user_id, scopes, plan, operator)
            select 'ffffffffffffffff', token_hash, tenant_id, user_id, '{ops:admin}', plan, false from api_keys`
        )
        assert.strictEqual(forged.reason._tag, "ConstraintError")
      })
    )
  }
)

const caller = (n: number): Caller => ({
  keyId: KeyId.make(String(n).padStart(16, "0")),
  tenant: key().tenant,
  user: key().user,
  scopes: new Set(),
  plan: "small"
})

describe("CallerCache", () => {
  it("holds a bounded number of callers and lets the oldest go", () => {
    const cache = new CallerCache(100n, 3)
    for (const n of [1, 2, 3, 1, 4]) cache.set(`hash ${n}`, caller(n), 0n)
    const held = [1, 2, 3, 4].filter((n) => cache.get(`hash ${n}`, 0n) !== undefined)
    assert.deepStrictEqual(held, [1, 3, 4])
  })

  it("forgets every token of a key, and those of others never", () => {
    const cache = new CallerCache(100n, 10)
    for (const [hash, n] of [
      ["a", 1],
      ["b", 1],
      ["c", 2]
    ] as const)
      cache.set(hash, caller(n), 0n)
    cache.forget(caller(1).keyId)
    assert.deepStrictEqual(
      ["a", "b", "c"].filter((hash) => cache.get(hash, 0n) !== undefined),
      ["c"]
    )
  })
})
