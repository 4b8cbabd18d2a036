/** Everything in this process, for tests and for trying things out; forgotten when it ends. */
import { Layer } from "effect"

import * as MemoryApiKeys from "../../layers/access/MemoryApiKeys.ts"
import * as MemoryAuditLog from "../../layers/access/MemoryAuditLog.ts"
import * as MemoryBreakerReports from "../../layers/breakers/MemoryBreakerReports.ts"
import * as MemoryForcedStates from "../../layers/breakers/MemoryForcedStates.ts"
import * as MemoryEventBus from "../../layers/events/MemoryEventBus.ts"
import * as MemoryEventOutbox from "../../layers/events/MemoryEventOutbox.ts"
import * as MemoryLimiter from "../../layers/limits/MemoryLimiter.ts"
import * as MemoryPolicies from "../../layers/limits/MemoryPolicies.ts"
import * as MemoryBooks from "../../layers/payments/MemoryBooks.ts"
import * as MemoryCharges from "../../layers/payments/MemoryCharges.ts"
import * as MemoryIdempotencyStore from "../../layers/payments/MemoryIdempotencyStore.ts"
import * as MemoryLedger from "../../layers/payments/MemoryLedger.ts"
import * as MemoryOutbox from "../../layers/payments/MemoryOutbox.ts"
import * as ScriptedPsp from "../../layers/payments/ScriptedPsp.ts"
import * as MemoryTransactions from "../../layers/platform/MemoryTransactions.ts"
import type { Stack } from "./Stack.ts"

const payments = Layer.mergeAll(
  MemoryCharges.layer,
  MemoryOutbox.layer,
  MemoryLedger.layer,
  MemoryIdempotencyStore.layer
).pipe(Layer.provide(MemoryBooks.layer), Layer.provideMerge(MemoryEventOutbox.layer))

export const stack = {
  books: Layer.mergeAll(
    payments,
    Layer.mergeAll(MemoryApiKeys.layer, MemoryForcedStates.layer, MemoryPolicies.layer).pipe(
      Layer.provideMerge(MemoryAuditLog.layer)
    ),
    MemoryBreakerReports.layer,
    MemoryTransactions.layer
  ),
  limiter: MemoryLimiter.layer,
  bus: MemoryEventBus.layer,
  provider: ScriptedPsp.layer
} satisfies Stack<unknown>
