/** Keys in this process. Recalls nothing: accepting looks at the same rows, and they are as near. */
import { Clock, DateTime, Duration, Effect, Layer, Option } from "effect"

import { ChargeId } from "../../domain/payments/Charge.ts"
import { IdempotencyStore, NoSuchKey } from "../../domain/payments/IdempotencyStore.ts"
import { Settings } from "../platform/Settings.ts"
import { MemoryBooks, nameOf, rfc3339 } from "./MemoryBooks.ts"

const make = Effect.gen(function* () {
  const books = yield* MemoryBooks
  const tombstone = Duration.toMillis((yield* Settings).tombstoneTtl)

  const inspect: IdempotencyStore["Service"]["inspect"] = (tenant, key) =>
    Effect.suspend(() => {
      const row = books.keys.get(nameOf(tenant, key))
      if (row === undefined) return Effect.fail(new NoSuchKey())
      const charge = books.charges.get(row.charge)?.charge
      const operation = [...books.operations.values()].find((found) => found.charge === row.charge)
      const command = operation === undefined ? undefined : books.commands.get(operation.id)
      return Effect.succeed({
        key,
        fingerprint: row.fingerprint,
        charge: charge === undefined ? null : ChargeId.make(charge.id),
        state: charge?.operationState ?? ("refused" as const),
        attempts: operation === undefined ? 0 : (books.attempts.get(operation.id)?.length ?? 0),
        nextAttemptAt:
          command === undefined || command.state === "dead"
            ? Option.none()
            : Option.some(DateTime.makeUnsafe(command.availableAt)),
        firstSeen: rfc3339(row.firstSeen),
        expires: rfc3339(row.expiresAt)
      })
    })

  const reap: IdempotencyStore["Service"]["reap"] = (limit) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const expired = [...books.keys]
        .filter(([, row]) => row.told !== undefined && row.expiresAt <= now)
        .slice(0, limit)
      for (const [name, row] of expired) {
        books.keys.delete(name)
        books.tombstones.set(name, { charge: row.told?.charge ?? null, forgetAt: row.expiresAt + tombstone })
      }
      const forgotten = [...books.tombstones].filter(([, grave]) => grave.forgetAt <= now).slice(0, limit)
      for (const [name] of forgotten) books.tombstones.delete(name)
      return expired.length + forgotten.length
    })

  return IdempotencyStore.of({
    recall: () => Effect.succeedNone,
    remember: () => Effect.void,
    inspect,
    reap
  })
})

export const layer: Layer.Layer<IdempotencyStore, never, MemoryBooks | Settings> = Layer.effect(IdempotencyStore, make)
