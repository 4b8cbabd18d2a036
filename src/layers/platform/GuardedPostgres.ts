/**
 * A layer around the two clients of Postgres: whatever goes to it goes through the breaker of `postgres`. Who is
 * refused sees a `SqlError` like any other, with what the breaker said as its cause.
 *
 * A statement is one call, from the wait for a connection to its last row. So is a whole transaction, from the
 * wait for a connection to the answer to COMMIT: it may be refused before BEGIN and nowhere later, since a
 * statement that is refused midway undoes what was done, and a COMMIT that is refused or given up has an outcome
 * that nobody knows. Nothing here stands between a transaction and its COMMIT: whoever waits is told after the
 * timeout that it does not know, and the COMMIT goes on to its end.
 *
 * The timeout is a little longer than Postgres' own of a statement, so that a server that can still say that it
 * took too long does, and only silence is cut. A transaction has the time of one statement.
 */
import { PgClient } from "@effect/sql-pg"
import { Context, Duration, Effect, Layer } from "effect"
import { SqlClient, SqlError, Statement } from "effect/sql"
import type { SqlConnection } from "effect/sql"

import { Breaker, BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { CallMax, Reads } from "./Postgres.ts"
import * as PostgresHealth from "./PostgresHealth.ts"
import { serverPolicy } from "./ServerPolicy.ts"
import { Settings } from "./Settings.ts"

/** How long one call may take. */
export const callMax = ({ databaseStatementTimeout }: Pick<Settings["Service"], "databaseStatementTimeout">) =>
  Duration.times(databaseStatementTimeout, 1.1)

type Guard = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError.SqlError, R>

type Operation = Dependency.Write<unknown> | Dependency.AuthoritativeRead<unknown>

/** A client's way to a connection, which each of its statements carries. */
interface Lent {
  readonly acquirer: SqlConnection.Acquirer
  readonly borrower: SqlConnection.Borrower
  readonly compiler: Statement.Compiler
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
}

/** The same client, with everything but what runs inside of a transaction of its own behind `statement` or `transaction`. */
const guarded = <Client extends SqlClient.SqlClient>(raw: Client, statement: Guard, transaction: Guard): Client => {
  const outside =
    (guard: Guard) =>
    <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
      Effect.withFiber((fiber) =>
        Context.getOrUndefined(fiber.context, raw.transactionService) === undefined ? guard(effect) : effect
      )
  const { acquirer, borrower, compiler, spanAttributes } = raw`` as Statement.Statement<unknown> & Lent
  const statements = Statement.make(outside(statement)(acquirer), compiler, spanAttributes, undefined, (use) =>
    outside(statement)(borrower(use))
  )
  const client = Object.assign(statements, {
    ...raw,
    ...statements,
    reserve: statement(raw.reserve),
    withTransaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => outside(transaction)(raw.withTransaction(effect)),
    withoutTransforms: (): Client => client,
    safe: raw
  }) as Client
  return Object.assign(client, { safe: client })
}

const make = Effect.gen(function* () {
  const raw = yield* PgClient.PgClient
  const reads = yield* Reads
  const breaker = yield* Breaker
  const settings = yield* Settings
  const longest = callMax(settings)
  const postgres = Dependency.make("postgres", "postgres", serverPolicy(settings, { timeout: longest }))
  yield* (yield* Breakers).declare(postgres)

  const behind = (make: (timeout: Duration.Duration) => Operation): Guard => {
    /** One for each time that callers in the code name. */
    const operations = new Map<number, Operation>()
    const operationOf = (timeout: Duration.Duration) => {
      const millis = Duration.toMillis(timeout)
      const known = operations.get(millis)
      if (known !== undefined) return known
      const made = make(timeout)
      operations.set(millis, made)
      return made
    }
    return (effect) =>
      Effect.withFiber((fiber) => {
        const operation = operationOf(Duration.min(fiber.getRef(CallMax) ?? longest, longest))
        return Effect.catchIf(
          operation._tag === "Write" ? breaker.write(operation, effect) : breaker.read(operation, effect),
          isOwn,
          (error) => Effect.fail(refused(operation.name, error))
        )
      })
  }
  const statement = behind((timeout) =>
    Dependency.write(postgres, "statement", { classify: PostgresHealth.classify, timeout })
  )
  const transaction = behind((timeout) =>
    Dependency.write(postgres, "transaction", { classify: PostgresHealth.classify, timeout })
  )
  const read = behind((timeout) =>
    Dependency.read(postgres, "read", { authoritative: true, classify: PostgresHealth.classify, timeout })
  )

  const client = guarded(raw, statement, transaction)
  Object.assign(client, {
    listen: (channel: string) => statement(raw.listen(channel)),
    notify: (channel: string, payload: string) => statement(raw.notify(channel, payload))
  })
  return Context.make(PgClient.PgClient, client).pipe(
    Context.add(SqlClient.SqlClient, client),
    Context.add(Reads, guarded(reads, read, transaction))
  )
})

export const layer: Layer.Layer<
  PgClient.PgClient | SqlClient.SqlClient | Reads,
  PolicyRefused,
  PgClient.PgClient | Reads | Breaker | Breakers | Settings
> = Layer.effectContext(make)

/** What the breaker of Postgres itself said, and not one that was asked inside of a transaction. */
const isOwn = (error: unknown): error is BreakerError => error instanceof BreakerError && error.path.length === 1

/** Not one to repeat at once: it says when to come back. A call that took too long may have been executed. */
const refused = (operation: string, cause: BreakerError) => {
  const reason = { cause, message: cause.message, operation }
  return new SqlError.SqlError({
    reason:
      cause.reason._tag === "CallTimedOut"
        ? new SqlError.StatementTimeoutError(reason)
        : new SqlError.UnknownError(reason)
  })
}
