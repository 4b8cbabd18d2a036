/**
 * How well the twin is, for those who want to see what a house does when its provider is not: every answer can
 * be made late, or every connection dropped. Forgotten when the twin ends. Nothing but its switch is spared.
 */
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Duration, Effect, Ref, Schema } from "effect"
import type { HttpServerRequest } from "effect/http"

/** Whole seconds would be too coarse to stay below a timeout with. */
export const Health = Schema.Struct({
  /** False: connections are dropped, after the delay. */
  answers: Schema.Boolean,
  delay_ms: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60_000 }))
})
export type Health = typeof Health.Type

export interface TwinHealth {
  readonly set: (health: Health) => Effect.Effect<void>
  /** In front of what a provider does. */
  readonly suffered: <A, E, R>(
    request: HttpServerRequest.HttpServerRequest,
    answer: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
}

export const make: Effect.Effect<TwinHealth> = Effect.map(
  Ref.make<Health>({ answers: true, delay_ms: 0 }),
  (current) => ({
    set: (health) => Ref.set(current, health),
    suffered: (request, answer) =>
      Effect.flatMap(Ref.get(current), ({ answers, delay_ms }) => {
        const then = answers ? answer : hangUp(request)
        return delay_ms === 0 ? then : Effect.delay(then, Duration.millis(delay_ms))
      })
  })
)

/** The line goes dead, and nothing is said. */
export const hangUp = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.andThen(
    Effect.sync(() => NodeHttpServerRequest.toIncomingMessage(request).socket.destroy()),
    Effect.never
  )
