/**
 * A nudge inside one process: whoever stages work wakes whoever waits for it, so that an idle worker need
 * not be polled hard. Never relied on: other processes are not heard, and polling is the guarantee.
 */
import { Context, Effect, Latch, Layer } from "effect"

export class Wake extends Context.Service<
  Wake,
  {
    readonly wake: Effect.Effect<void>
    /** Returns at the next `wake`, or at once when there was one since the last wait. */
    readonly wait: Effect.Effect<void>
  }
>()("cribwork/payments/Wake") {}

export const layer: Layer.Layer<Wake> = Layer.effect(
  Wake,
  Effect.sync(() => {
    const latch = Latch.makeUnsafe(false)
    return Wake.of({
      wake: Effect.asVoid(latch.open),
      wait: Effect.andThen(latch.await, latch.close)
    })
  })
)
