/** Lets time pass for what is kept: an adapter on a real clock moves its rows into the past instead. */
import { Context, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"

import { Owner } from "../Postgres.ts"

export class PassTime extends Context.Service<PassTime, (duration: Duration.Input) => Effect.Effect<void>>()(
  "cribwork/test/breakers/PassTime"
) {}

export const onTestClock = Layer.succeed(PassTime, TestClock.adjust)

export const byOwner = Layer.effect(
  PassTime,
  Effect.map(Owner, (sql) => (duration: Duration.Input) => {
    const ago = `${Duration.toMillis(Duration.fromInputUnsafe(duration))} milliseconds`
    return Effect.all([
      sql`update breaker_forces set until = until - ${ago}::text::interval, forced_at = forced_at - ${ago}::text::interval`,
      sql`update breaker_reports set seen_at = seen_at - ${ago}::text::interval`
    ]).pipe(Effect.asVoid, Effect.orDie)
  })
)
