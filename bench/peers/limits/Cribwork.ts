/** Ours, as programs build it: Redis behind its breaker, one question for all keys. */
import { ConfigProvider, Duration, Effect, Layer, Logger, ManagedRuntime, Redacted } from "effect"

import { Limiter } from "../../../src/domain/limits/Limiter.ts"
import type { AskKey } from "../../../src/domain/limits/Limiter.ts"
import { Policy, PolicyName } from "../../../src/domain/limits/Policy.ts"
import * as MemoryBreakers from "../../../src/layers/breakers/MemoryBreakers.ts"
import { layerWith } from "../../../src/layers/limits/RedisLimiter.ts"
import type { RedisLimiterOptions } from "../../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../../src/layers/limits/Windows.ts"
import * as GuardedRedis from "../../../src/layers/platform/GuardedRedis.ts"
import * as Redis from "../../../src/layers/platform/Redis.ts"
import * as Settings from "../../../src/layers/platform/Settings.ts"
import { granted } from "./Contender.ts"
import type { Open, Segments } from "./Contender.ts"

/** As `Settings` has it, and for a machine that others use. */
const deadlines = { hasty: 40, patient: 2000 }
const scopes = ["tenant", "user", "route"] as const

export interface Variant {
  readonly options?: Partial<RedisLimiterOptions>
  /** What a policy may be beyond its limit. */
  readonly policy?: Partial<Pick<ConstructorParameters<typeof Policy>[0], "lease">>
}

export const open =
  (name: string, { options = {}, policy = {} }: Variant = {}): Open =>
  async (port, hasty) => {
    const millis = deadlines[hasty ? "hasty" : "patient"]
    const runtime = ManagedRuntime.make(
      layerWith({ deadline: Duration.millis(millis), shadow: windowsBounds, ...options }).pipe(
        Layer.provide(GuardedRedis.layer),
        Layer.provide(
          Redis.layer(
            Redacted.make(`redis://127.0.0.1:${port}`),
            hasty ? {} : { silenceMax: Duration.millis(2 * millis) }
          )
        ),
        Layer.provide(MemoryBreakers.layer),
        Layer.provide(Settings.layer),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ REDIS_DEADLINE: `${millis} millis` }))),
        Layer.provide(Logger.layer([]))
      )
    )
    const limiter = await runtime.runPromise(Limiter)
    return {
      decide: async (limits, windowMillis) => {
        const policies = limits.map(
          (limit, place) =>
            new Policy({
              ...policy,
              name: PolicyName.make(`${name}-${windowMillis}-${limit}-${place}`),
              scope: scopes[place] ?? "route",
              limit,
              window: Duration.millis(windowMillis)
            })
        )
        const keysOf = ([tenant, ...narrower]: Segments) =>
          policies.map((policy, place): AskKey => ({ policy, key: [tenant, ...narrower.slice(0, place)] }))
        return {
          effect: (segments) =>
            Effect.match(limiter.take({ keys: keysOf(segments) as unknown as readonly [AskKey], cost: 1 }), {
              onSuccess: ({ source }) => (source === "shadow" ? { ...granted, alone: true } : granted),
              onFailure: ({ reason }) => ({
                allowed: false,
                waitMillis: reason._tag === "RateLimited" ? Duration.toMillis(reason.retryAfter) : 0,
                alone: reason._tag !== "RateLimited" || reason.source === "shadow"
              })
            })
        }
      },
      close: () => runtime.dispose()
    }
  }
