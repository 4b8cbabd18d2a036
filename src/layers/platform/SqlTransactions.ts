/** Transactions of Postgres, READ COMMITTED. */
import { Effect, Layer } from "effect"
import { SqlClient, SqlError } from "effect/sql"

import { TransactionFailed, Transactions } from "../../domain/Transactions.ts"

export const layer: Layer.Layer<Transactions, never, SqlClient.SqlClient> = Layer.effect(
  Transactions,
  Effect.map(SqlClient.SqlClient, (sql) =>
    Transactions.of({
      run: (inside) =>
        sql
          .withTransaction(inside)
          .pipe(Effect.mapError((cause) => (SqlError.isSqlError(cause) ? new TransactionFailed({ cause }) : cause)))
    })
  )
)
