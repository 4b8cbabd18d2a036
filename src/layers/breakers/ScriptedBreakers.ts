/**
 * Breakers of this process that play a script, for tests of what stands behind them: the next calls of a
 * dependency are refused for a given reason, or hang until their timeout, without a server that has to be
 * broken first. Where the script says nothing they are `MemoryBreakers`, with all that those promise; a fallback
 * answers a scripted refusal as it does a real one, and nothing that is scripted counts against a dependency
 * but the timeouts, which happen.
 */
import { Context, DateTime, Effect, Layer } from "effect"

import { Breaker, BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import type { AdvisoryRead, AuthoritativeRead, Write } from "../../domain/breakers/Dependency.ts"
import type { Defaults } from "../../domain/breakers/Terms.ts"
import * as MemoryBreakers from "./MemoryBreakers.ts"

/** What becomes of a call instead of its being made. */
export type Line =
  | { readonly _tag: "Refused"; readonly reason: BreakerError["reason"] }
  /** It is never answered. */
  | { readonly _tag: "Hung" }

/** A call that its breaker let through, and what became of it. */
export interface Call {
  readonly dependency: string
  readonly operation: string
  readonly kind: "read" | "write"
  readonly fate: "ran" | "refused" | "hung"
}

/** The other side of the double. */
export class BreakerScript extends Context.Service<
  BreakerScript,
  {
    /** The next `times` calls of a dependency come to this, after what was written for it before. */
    readonly next: (dependency: string, times: number, line: Line) => Effect.Effect<void>
    /** Holds a breaker in a state, as an operator would, for a day; undefined gives it back to itself. */
    readonly hold: (dependency: string, to: "open" | "closed" | undefined) => Effect.Effect<void>
    /** The newest `callsMax` calls, oldest first. A breaker that is open lets none through. */
    readonly calls: Effect.Effect<ReadonlyArray<Call>>
  }
>()("cribwork/breakers/ScriptedBreakers/BreakerScript") {}

/** Calls that are remembered, and lines that one dependency may have. */
const callsMax = 10_000

const make = Effect.gen(function* () {
  const breaker = yield* Breaker
  const breakers = yield* Breakers
  const lines = new Map<string, Array<Line>>()
  const calls: Array<Call> = []

  const played = <A, E, R, E2>(
    { _tag, dependency: { name }, name: operation }: Write<E2> | AuthoritativeRead<E2> | AdvisoryRead<E2>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | BreakerError, R> =>
    Effect.suspend((): Effect.Effect<A, E | BreakerError, R> => {
      const line = lines.get(name)?.shift()
      const fate = line === undefined ? "ran" : line._tag === "Hung" ? "hung" : "refused"
      if (calls.length === callsMax) calls.shift()
      calls.push({ dependency: name, operation, kind: _tag === "Write" ? "write" : "read", fate })
      if (line === undefined) return effect
      if (line._tag === "Hung") return Effect.never
      return Effect.fail(new BreakerError({ dependency: name, operation, path: [name], reason: line.reason }))
    })

  /** What is handed on beside the call, a fallback or what has no business there, is for the real one to judge. */
  const playing = <Method extends Breaker["Service"]["read" | "write"]>(method: Method): Method =>
    ((operation: Write<unknown>, effect: Effect.Effect<unknown>, ...more: ReadonlyArray<unknown>) =>
      Reflect.apply(method, undefined, [operation, played(operation, effect), ...more])) as Method

  const scripted = Breaker.of({
    write: playing(breaker.write),
    read: playing(breaker.read),
    permits: breaker.permits
  })

  const script = BreakerScript.of({
    next: (dependency, times, line) =>
      Effect.sync(() => {
        const before = lines.get(dependency) ?? []
        const room = Math.max(0, callsMax - before.length)
        lines.set(dependency, [...before, ...Array.from({ length: Math.min(times, room) }, () => line)])
      }),
    hold: (dependency, to) =>
      Effect.flatMap(DateTime.now, (now) =>
        breakers.force(dependency, to === undefined ? undefined : { to, until: DateTime.add(now, { days: 1 }) })
      ),
    calls: Effect.sync(() => [...calls])
  })
  return Context.make(Breaker, scripted).pipe(Context.add(Breakers, breakers), Context.add(BreakerScript, script))
})

/** `defaults` as for `MemoryBreakers`, for those dependencies whose own policy leaves something open. */
export const layerWith = (defaults: Defaults): Layer.Layer<Breaker | Breakers | BreakerScript, PolicyRefused> =>
  Layer.effectContext(make).pipe(Layer.provide(Layer.fresh(MemoryBreakers.layerWith(defaults))))
