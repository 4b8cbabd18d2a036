/** Effect's own RateLimiter, "fixed-window", on node-redis as @effect/platform-node brings it; one call a key. */
import { NodeRedis } from "@effect/platform-node"
import { Duration, Effect, Layer, Logger, ManagedRuntime } from "effect"
import { RateLimiter } from "effect/persistence"

import { granted, keyOf, together } from "./Contender.ts"
import type { Open } from "./Contender.ts"

export const open: Open = async (port) => {
  const runtime = ManagedRuntime.make(
    RateLimiter.layer.pipe(
      Layer.provide(RateLimiter.layerStoreRedis()),
      Layer.provide(NodeRedis.layer({ url: `redis://127.0.0.1:${port}` })),
      Layer.provide(Logger.layer([]))
    )
  )
  const limiter = await runtime.runPromise(RateLimiter.RateLimiter)
  return {
    decide: async (limits, windowMillis) => ({
      effect: (segments) =>
        Effect.map(
          Effect.forEach(
            limits,
            (limit, place) =>
              limiter
                .consume({
                  key: `effect-${windowMillis}-${limit}-${keyOf(segments, place)}`,
                  limit,
                  window: windowMillis
                })
                .pipe(
                  Effect.as(granted),
                  Effect.catch(({ reason }) =>
                    reason._tag === "RateLimitExceeded"
                      ? Effect.succeed({ allowed: false, waitMillis: Duration.toMillis(reason.retryAfter) })
                      : Effect.die(reason)
                  )
                ),
            { concurrency: "unbounded" }
          ),
          together
        )
    }),
    close: () => runtime.dispose()
  }
}
