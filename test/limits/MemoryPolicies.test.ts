import { Effect, Layer } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import * as MemoryPolicies from "../../src/layers/limits/MemoryPolicies.ts"
import { policiesSuite } from "./Policies.suite.ts"

/** Lets others go first before it keeps an entry. */
const yielding = Layer.effect(
  AuditLog,
  Effect.map(AuditLog, (audit) =>
    AuditLog.of({ ...audit, record: (record) => Effect.andThen(Effect.yieldNow, audit.record(record)) })
  )
).pipe(Layer.provide(MemoryAuditLog.layer))

policiesSuite("memory", MemoryPolicies.layer.pipe(Layer.provideMerge(yielding)))
