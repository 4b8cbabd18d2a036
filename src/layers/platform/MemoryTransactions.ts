/**
 * No transactions: what runs inside runs. The in-memory adapters do each step whole, but two steps of one
 * transaction are not undone together when the second fails.
 */
import { Layer } from "effect"

import { Transactions } from "../../domain/Transactions.ts"

export const layer: Layer.Layer<Transactions> = Layer.succeed(
  Transactions,
  Transactions.of({ run: (inside) => inside })
)
