/**
 * A `Limiter` that counts in this process. Exact, on the monotonic clock, so that setting the machine's time
 * changes nothing; forgets everything on restart, and two processes do not see each other. What it remembers
 * is bounded (see `Windows`). On the path of every request: about a microsecond a key.
 */
import { Clock, Effect, Layer } from "effect"
import type { Exit, Fiber } from "effect"

import { Limiter } from "../../domain/limits/Limiter.ts"
import type { Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import * as Decisions from "./Decisions.ts"
import * as Ids from "./Ids.ts"
import { nowMicros, Windows, windowsBounds } from "./Windows.ts"
import type { WindowsBounds } from "./Windows.ts"

type Decide = (now: number) => Exit.Exit<Grant, LimiterError>

const counted = (decide: Decide, peeked: boolean) =>
  Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) => {
    const decision = decide(nowMicros(fiber.getRef(Clock.Clock)))
    Decisions.count(decision, peeked, fiber.context)
    return decision
  })

const make = (bounds: WindowsBounds) =>
  Effect.gen(function* () {
    const windows = new Windows("memory", bounds, yield* Ids.make)

    return Limiter.of({
      take: (ask) => counted((now) => windows.take(ask, now), false),
      peek: (ask) => counted((now) => windows.peek(ask, now), true),
      refund: (spent) => Effect.clockWith((clock) => Effect.sync(() => windows.refund(spent, nowMicros(clock)))),
      reset: (keys) => Effect.sync(() => windows.reset(keys))
    })
  })

export const layerWith = (bounds: WindowsBounds): Layer.Layer<Limiter> => Layer.effect(Limiter, make(bounds))

export const layer = layerWith(windowsBounds)
