/** Lets ports that join the ambient transaction commit as one. */
import { Context, Schema } from "effect"
import type { Effect } from "effect"

/** It could not be begun, or whether it was committed is not known. */
export class TransactionFailed extends Schema.TaggedError<TransactionFailed>()("TransactionFailed", {
  cause: Schema.Defect()
}) {}

/** What runs inside is kept together when it succeeds, and not at all when it fails. */
export class Transactions extends Context.Service<
  Transactions,
  { readonly run: <A, E, R>(inside: Effect.Effect<A, E, R>) => Effect.Effect<A, E | TransactionFailed, R> }
>()("cribwork/Transactions") {}
