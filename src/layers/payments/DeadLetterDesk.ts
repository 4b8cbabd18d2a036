/** Where an operator sends dead letters on again: what was done and who did it, and why, are kept as one. */
import { Context, Effect, Layer } from "effect"

import type { AccessUnavailable, Act } from "../../domain/access/AuditLog.ts"
import { AuditLog } from "../../domain/access/AuditLog.ts"
import { Outbox, type OutboxUnavailable, type RedriveRequest, type Redriven } from "../../domain/payments/Outbox.ts"
import { type TransactionFailed, Transactions } from "../../domain/Transactions.ts"
import { Wake } from "./Wake.ts"

export class DeadLetterDesk extends Context.Service<
  DeadLetterDesk,
  {
    readonly redrive: (
      request: RedriveRequest,
      act: Act
    ) => Effect.Effect<Redriven, OutboxUnavailable | AccessUnavailable | TransactionFailed>
  }
>()("cribwork/payments/DeadLetterDesk") {}

const make = Effect.gen(function* () {
  const outbox = yield* Outbox
  const audit = yield* AuditLog
  const transactions = yield* Transactions
  const wake = yield* Wake

  const redrive: DeadLetterDesk["Service"]["redrive"] = (request, act) =>
    outbox.redrive(request).pipe(
      Effect.tap((done) =>
        audit.record({
          ...act,
          action: "dead-letters.redrive",
          subject: request.operations === "all" ? "all" : request.operations.join(","),
          before: { after_evidence: request.evidence, limit: request.limit },
          after: { redriven: done.redriven, refused: done.refused }
        })
      ),
      transactions.run,
      Effect.tap(wake.wake)
    )

  return DeadLetterDesk.of({ redrive })
})

export const layer: Layer.Layer<DeadLetterDesk, never, Outbox | AuditLog | Transactions | Wake> = Layer.effect(
  DeadLetterDesk,
  make
)
