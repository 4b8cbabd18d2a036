/** Turns expired keys into tombstones, in small steps, so that tables stop growing. Start as many as you like. */
import { Duration, Effect, Layer, Metric, Random } from "effect"

import { IdempotencyStore } from "../../domain/payments/IdempotencyStore.ts"

/** Rows of one step, a few milliseconds of locks. */
const stepMax = 1000
/** Between rounds, up to twice this, so that several reapers spread. */
const pause = Duration.seconds(30)

const reaped = Metric.counter("cribwork_payments_keys_reaped_total", {
  description: "Idempotency keys turned into tombstones, and tombstones forgotten",
  incremental: true
})

const make = Effect.gen(function* () {
  const keys = yield* IdempotencyStore
  const round = keys.reap(stepMax).pipe(
    Effect.tap((rows) => Metric.update(reaped, rows)),
    Effect.repeat({ while: (rows) => rows >= stepMax }),
    Effect.catchCause((cause) => Effect.logWarning("reaping waits for the next round", cause))
  )
  const wait = Effect.flatMap(Random.next, (chance) => Effect.sleep(Duration.times(pause, 1 + chance)))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(round, wait)))
})

export const layer: Layer.Layer<never, never, IdempotencyStore> = Layer.effectDiscard(make)
