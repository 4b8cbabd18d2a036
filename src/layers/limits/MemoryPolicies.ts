/** `Policies` in this process: seen by nobody else and forgotten on restart. */
import { Effect, Layer, Semaphore } from "effect"

import { AuditLog } from "../../domain/access/AuditLog.ts"
import { Policies, PoliciesUnavailable, refusalOf, Snapshot, VersionStale } from "../../domain/limits/Policies.ts"
import { empty } from "../../domain/limits/PolicyDocument.ts"
import { policiesRecord } from "./PoliciesRecord.ts"

const make = Effect.gen(function* () {
  const audit = yield* AuditLog
  const oneByOne = yield* Semaphore.make(1)
  let current = new Snapshot(0, empty)

  const replace: Policies["Service"]["replace"] = Effect.fnUntraced(
    function* (replacement) {
      const { document, from } = replacement
      if (from !== current.version) return yield* new VersionStale({})
      const refused = refusalOf(document, current.document)
      if (refused !== undefined) return yield* refused
      yield* audit.record(policiesRecord(current.document, replacement))
      current = new Snapshot(from + 1, document)
      return current
    },
    oneByOne.withPermit,
    Effect.catchTag("AccessUnavailable", (cause) => Effect.fail(new PoliciesUnavailable({ cause })))
  )

  return Policies.of({ current: Effect.sync(() => current), replace })
})

export const layer: Layer.Layer<Policies, never, AuditLog> = Layer.effect(Policies, make)
