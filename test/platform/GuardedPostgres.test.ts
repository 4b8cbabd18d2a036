import { once } from "node:events"
import { createServer, type Socket } from "node:net"
import type { AddressInfo } from "node:net"

import { assert, describe, it, layer } from "@effect/vitest"
import {
  ConfigProvider,
  DateTime,
  Duration,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Logger,
  Redacted,
  Schedule,
  Schema
} from "effect"
import { SqlClient, SqlError } from "effect/sql"

import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { BreakerError, CircuitOpen } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Deadline from "../../src/domain/Deadline.ts"
import { TenantId, UserId } from "../../src/domain/Ids.ts"
import { LedgerUnavailable } from "../../src/domain/payments/Ledger.ts"
import * as SqlApiKeys from "../../src/layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as GuardedPostgres from "../../src/layers/platform/GuardedPostgres.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import * as PostgresHealth from "../../src/layers/platform/PostgresHealth.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { Owner, testDatabase } from "../Postgres.ts"

/** The least there is: a call may take 110 ms. Fresh, since the database has settings of its own. */
const settings = Layer.fresh(Settings.layer).pipe(
  Layer.provide(
    ConfigProvider.layer(ConfigProvider.fromUnknown({ DATABASE_STATEMENT_TIMEOUT: "100 millis", DATABASE_POOL: "2" }))
  )
)

/** Everything that goes to the database at hand goes behind a registry of its own. */
const guarded = Layer.fresh(GuardedPostgres.layer).pipe(
  Layer.provideMerge(Layer.fresh(MemoryBreakers.layer)),
  Layer.provide(settings),
  Layer.provide(Logger.layer([]))
)

const state = Effect.flatMap(Breakers, (breakers) =>
  Effect.map(breakers.snapshots, (all) => all.find(({ dependency }) => dependency === "postgres")?.state)
)

const force = (to: "open" | "closed") =>
  Effect.flatMap(Breakers, (breakers) =>
    Effect.flatMap(DateTime.now, (now) =>
      breakers.force("postgres", { to, until: DateTime.addDuration(now, Duration.minutes(1)) })
    )
  )

const times = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.flip(effect))

/** The server's own word, with this code. */
const raising = (code: string) =>
  SqlClient.SqlClient.use((sql) =>
    sql.unsafe(`do $$ begin raise exception 'on purpose' using errcode = '${code}'; end $$`)
  )

/** What the breaker said, if it did. */
const spoken = ({ reason }: SqlError.SqlError) =>
  reason.cause instanceof BreakerError ? reason.cause.reason._tag : undefined

const nth = (error: SqlError.SqlError, wraps: number) =>
  Array.from({ length: wraps }).reduce<Error>((cause) => new LedgerUnavailable({ cause }), error)

const failed = (reason: SqlError.SqlError["reason"]) => new SqlError.SqlError({ reason })

/** Looks until it is there; a test that never sees it ends by its own time. */
const soon = Schedule.spaced("10 millis")

/** Takes connections and says nothing. */
const silence = Effect.gen(function* () {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket.on("error", () => {})))
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
  )
  yield* Effect.promise(() => once(server.listen(0, "127.0.0.1"), "listening"))
  return Redacted.make(`postgres://a:b@127.0.0.1:${(server.address() as AddressInfo).port}/c`)
})

describe("GuardedPostgres, without a server", () => {
  it.live("counts silence after its time, also of those who wait for a connection, and then costs no more of it", () =>
    Effect.gen(function* () {
      const url = yield* silence
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const impatient = Effect.provideService(sql`select 1`, Postgres.CallMax, Duration.millis(20))
        const [short, [first]] = yield* Effect.timed(times(1, impatient))
        assert.isBelow(Duration.toMillis(short), 100)
        assert.strictEqual(first === undefined ? undefined : spoken(first), "CallTimedOut")
        const asking = Effect.forEach(Array.from({ length: 6 }), () => Effect.flip(sql`select 1`), {
          concurrency: "unbounded"
        })
        const [took, errors] = yield* Effect.timed(asking)
        assert.isBelow(Duration.toMillis(took), 1000)
        for (const error of errors) {
          assert.strictEqual(spoken(error), "CallTimedOut")
          assert.strictEqual(error.reason._tag, "StatementTimeoutError")
        }
        assert.strictEqual(yield* state, "open")
        const [refusal, [error]] = yield* Effect.timed(times(1, sql`select 1`))
        assert.isBelow(Duration.toMillis(refusal), 50)
        assert.strictEqual(error === undefined ? undefined : spoken(error), "CircuitOpen")
      }).pipe(Effect.provide(guarded.pipe(Layer.provide(Postgres.layer(url)), Layer.provide(settings))))
    }).pipe(Effect.scoped)
  )
})

describe("The health of Postgres", () => {
  const about = { message: "no", operation: "execute" }
  const { ConnectionError, AuthenticationError, StatementTimeoutError } = SqlError
  const { SqlSyntaxError, ConstraintError, DeadlockError, SerializationError, LockTimeoutError } = SqlError
  const dead = [ConnectionError, AuthenticationError, StatementTimeoutError] as const
  const reasons = [...dead, SqlSyntaxError, ConstraintError, DeadlockError, SerializationError, LockTimeoutError]

  it.prop(
    "is shown by what it says, however a caller wraps it",
    {
      which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: reasons.length - 1 })),
      wraps: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
    },
    ({ which, wraps }) => {
      const Reason = reasons[which] ?? ConnectionError
      const error = nth(failed(new Reason({ ...about, cause: new Error("no") })), wraps)
      const expected = which < dead.length ? "Failure" : "Success"
      assert.strictEqual(PostgresHealth.classify(Exit.fail(error))._tag, expected)
      assert.strictEqual(PostgresHealth.classify(Exit.die(error))._tag, expected)
    }
  )

  it("is not shown by another breaker, nor by a bug of ours; a transaction that undid itself shows it", () => {
    const refusal = new BreakerError({
      dependency: "redis",
      operation: "command",
      path: ["redis"],
      reason: new CircuitOpen({ state: "open", retryAfter: Duration.zero })
    })
    assert.strictEqual(PostgresHealth.classify(Exit.fail(new LedgerUnavailable({ cause: refusal })))._tag, "Ignored")
    assert.strictEqual(
      PostgresHealth.classify(Exit.fail(failed(new SqlError.ConnectionError({ ...about, cause: refusal }))))._tag,
      "Ignored"
    )
    assert.strictEqual(PostgresHealth.classify(Exit.die(new Error("bug")))._tag, "Ignored")
    assert.strictEqual(
      PostgresHealth.classify(Exit.fail(new LedgerUnavailable({ cause: "short of money" })))._tag,
      "Success"
    )
  })
})

layer(testDatabase, { excludeTestServices: true, timeout: "60 seconds" })("GuardedPostgres", (it) => {
  it.effect("lets pass whatever Postgres refuses for the caller's sake", () =>
    Effect.gen(function* () {
      for (const code of ["23505", "42P01", "40P01", "55P03", "25P02", "22012"]) yield* times(5, raising(code))
      assert.strictEqual(yield* state, "closed")
    }).pipe(Effect.provide(guarded))
  )

  for (const code of ["08006", "53300", "57P01", "57P03", "58030", "XX000", "25006"]) {
    it.effect(`opens when Postgres says ${code} again and again, and refuses with an error like any other`, () =>
      Effect.gen(function* () {
        yield* times(5, raising(code))
        assert.strictEqual(yield* state, "open")
        const sql = yield* SqlClient.SqlClient
        const reads = yield* Postgres.Reads
        for (const asked of [sql`select 1`, reads`select 1`, sql.withTransaction(Effect.void), sql`select 1`.values]) {
          const [error] = yield* times(1, asked)
          assert.instanceOf(error, SqlError.SqlError)
          assert.strictEqual(spoken(error), "CircuitOpen")
          assert.isFalse(error.isRetryable)
        }
      }).pipe(Effect.provide(guarded))
    )
  }

  it.effect("does not refuse many for the hurry of the one who asked first", () =>
    Effect.gen(function* () {
      const hurried = Deadline.within("60 millis")
      const reads = yield* Postgres.Reads
      const [error] = yield* times(1, hurried(reads`select 1`))
      assert.strictEqual(error === undefined ? undefined : spoken(error), "DeadlineTooShort")
      const keys = yield* ApiKeys
      const { token } = yield* keys.create(
        {
          tenant: TenantId.make("acme"),
          user: UserId.make("ada"),
          scopes: ["charges:read"],
          plan: "generous",
          operator: false
        },
        { actor: "test", why: "test" }
      )
      assert.strictEqual((yield* hurried(keys.authenticate(token))).tenant, "acme")
      const readiness = yield* Readiness.Readiness
      yield* readiness.register("postgres", reads`select 1`)
      assert.deepStrictEqual(yield* hurried(readiness.report), [{ name: "postgres", ready: true }])
    }).pipe(
      Effect.scoped,
      Effect.provide([
        Layer.fresh(SqlApiKeys.layer).pipe(Layer.provide(Layer.fresh(SqlAuditLog.layer))),
        Readiness.layer
      ]),
      Effect.provide(Layer.merge(guarded, settings))
    )
  )

  it.effect("refuses a transaction at its beginning and never midway", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      yield* owner`create table kept (id int primary key)`
      yield* owner`grant all on kept to cribwork_app`
      const sql = yield* SqlClient.SqlClient
      const begun = yield* Latch.make()
      const opened = yield* Latch.make()
      const going = yield* Effect.gen(function* () {
        yield* sql`insert into kept values (1)`
        yield* begun.open
        yield* opened.await
        yield* sql`insert into kept values (2)`
        yield* sql.withTransaction(sql`insert into kept values (3)`)
      }).pipe(sql.withTransaction, Effect.forkChild)
      yield* begun.await
      yield* force("open")
      yield* opened.open
      yield* Fiber.join(going)
      const [error] = yield* times(1, sql.withTransaction(sql`insert into kept values (4)`))
      assert.strictEqual(error === undefined ? undefined : spoken(error), "CircuitOpen")
      assert.deepStrictEqual(yield* owner`select id from kept order by id`, [{ id: 1 }, { id: 2 }, { id: 3 }])
    }).pipe(Effect.provide(guarded))
  )

  it.effect("does not cut a COMMIT: its caller is told that it does not know, and it comes to its end", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      yield* owner`create table slow (id int)`
      yield* owner`grant all on slow to cribwork_app`
      yield* owner.unsafe(
        `create function nap() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$`
      )
      yield* owner`create constraint trigger naps after insert on slow deferrable initially deferred
        for each row execute function nap()`
      const sql = yield* SqlClient.SqlClient
      const [took, [error]] = yield* Effect.timed(times(1, sql.withTransaction(sql`insert into slow values (1)`)))
      assert.isBelow(Duration.toMillis(took), 400)
      assert.strictEqual(error === undefined ? undefined : spoken(error), "CallTimedOut")
      assert.deepStrictEqual(yield* owner`select id from slow`, [])
      yield* Effect.repeat(owner`select id from slow`, { until: (rows) => rows.length === 1, schedule: soon })
    }).pipe(Effect.provide(guarded))
  )
})
