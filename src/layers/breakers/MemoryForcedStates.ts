/** `ForcedStates` in this process: obeyed by nobody else and forgotten on restart. */
import { Clock, DateTime, Duration, Effect, Layer } from "effect"

import { AuditLog } from "../../domain/access/AuditLog.ts"
import { type ForcedState, ForcedStates, ForcesUnavailable, outOfBounds } from "../../domain/breakers/ForcedStates.ts"
import { forceRecord, liftRecord } from "./ForceRecord.ts"

const make = Effect.gen(function* () {
  const audit = yield* AuditLog
  const forces = new Map<string, ForcedState>()

  const held = (dependency: string, nowMillis: number): ForcedState | undefined => {
    const forced = forces.get(dependency)
    return forced === undefined || forced.until.epochMilliseconds <= nowMillis
      ? undefined
      : { ...forced, left: Duration.millis(forced.until.epochMilliseconds - nowMillis) }
  }

  const active = Effect.map(Clock.currentTimeMillis, (now) =>
    [...forces.keys()].toSorted().flatMap((dependency) => held(dependency, now) ?? [])
  )

  const force: ForcedStates["Service"]["force"] = Effect.fnUntraced(
    function* (order) {
      const at = yield* DateTime.now
      const refused = outOfBounds(order.until, at)
      if (refused !== undefined) return yield* refused
      const before = held(order.dependency, at.epochMilliseconds)
      const forced = { ...order, at, left: DateTime.distance(at, order.until) }
      yield* audit.record(forceRecord(before, forced))
      forces.set(order.dependency, forced)
      return forced
    },
    Effect.catchTag("AccessUnavailable", unavailable)
  )

  const lift: ForcedStates["Service"]["lift"] = Effect.fnUntraced(
    function* (lift) {
      const before = held(lift.dependency, yield* Clock.currentTimeMillis)
      if (before === undefined) return undefined
      yield* audit.record(liftRecord(before, lift))
      forces.delete(lift.dependency)
      return before
    },
    Effect.catchTag("AccessUnavailable", unavailable)
  )

  return ForcedStates.of({ active, force, lift })
})

export const layer: Layer.Layer<ForcedStates, never, AuditLog> = Layer.effect(ForcedStates, make)

const unavailable = (cause: unknown) => new ForcesUnavailable({ cause })
