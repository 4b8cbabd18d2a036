/** Several instances that take from one key as fast as they may, and the windows in what they were granted. */
import { Context, Duration, Effect, Layer, Logger, Redacted } from "effect"
import type { Scope } from "effect"
import { Redis as Client } from "ioredis"

import { Limiter } from "../../src/domain/limits/Limiter.ts"
import type { Ask, DecisionId, Source } from "../../src/domain/limits/Limiter.ts"
import { layerWith } from "../../src/layers/limits/RedisLimiter.ts"
import type { RedisLimiterOptions } from "../../src/layers/limits/RedisLimiter.ts"
import { windowsBounds } from "../../src/layers/limits/Windows.ts"
import * as Redis from "../../src/layers/platform/Redis.ts"

export const silent = Logger.layer([])

/** Short, so that a test that breaks a connection is short. */
export const beat = Duration.millis(40)
const quick = { silenceMax: Duration.millis(100), backoffCap: Duration.millis(20) }

/** One process's limiter on a connection of its own; it lives as long as its scope. */
export const instance = (
  url: Redacted.Redacted,
  options: Partial<RedisLimiterOptions> = {}
): Effect.Effect<Limiter["Service"], never, Scope.Scope> =>
  Effect.map(
    Layer.build(
      Layer.fresh(
        layerWith({ deadline: Duration.millis(60), shadow: windowsBounds, beat, ...options }).pipe(
          Layer.provide(Redis.layer(url, quick)),
          Layer.provide(silent)
        )
      )
    ),
    Context.get(Limiter)
  )

/** One that was granted, in milliseconds of one clock: somewhere between the two it was admitted. */
export interface Admission {
  readonly id: DecisionId
  readonly source: Source
  readonly sent: number
  readonly answered: number
}

const nowMillis = Effect.clockWith((clock) => Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1e6))

/** Every instance asks again and again, `everyMillis`, until it is interrupted. */
export const crowd = (limiters: ReadonlyArray<Limiter["Service"]>, ask: Ask, everyMillis: number) =>
  Effect.gen(function* () {
    const admitted: Array<Admission> = []
    const one = (limiter: Limiter["Service"]) =>
      Effect.gen(function* () {
        const sent = yield* nowMillis
        const grant = yield* limiter.take(ask)
        admitted.push({ id: grant.id, source: grant.source, sent, answered: yield* nowMillis })
      }).pipe(Effect.ignore)
    const asking = (limiter: Limiter["Service"]) =>
      Effect.forever(Effect.andThen(Effect.forkChild(one(limiter)), Effect.sleep(everyMillis)))
    yield* Effect.forEach(limiters, asking, { concurrency: "unbounded" }).pipe(Effect.forkScoped)
    return admitted
  })

/** The most admissions that surely lie in one window: each sent and answered inside it. */
export const worstWindow = (admitted: ReadonlyArray<Admission>, windowMillis: number): number =>
  Math.max(
    0,
    ...admitted.map(
      ({ sent }) => admitted.filter((other) => other.sent >= sent && other.answered < sent + windowMillis).length
    )
  )

/** Until `size` instances are there and each has beaten twice since, so that each has seen that all have seen it. */
export const acquainted = (url: Redacted.Redacted, size: number) =>
  Effect.gen(function* () {
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => new Client(Redacted.value(url))),
      (client) => Effect.sync(() => client.disconnect())
    )
    const beats = Effect.promise(async () => {
      const live = await client.zrange("{cribwork:limits}:instances", "0", "-1", "WITHSCORES")
      const [seconds = "0"] = (await client.time()) as ReadonlyArray<unknown> as ReadonlyArray<string>
      const entries = live.flatMap((name, at) => (at % 2 === 0 ? [[name, Number(live[at + 1])] as const] : []))
      return new Map(entries.filter(([, at]) => at > (Number(seconds) - 2) * 1_000_000))
    })
    for (let round = 0; round < 3; round++) {
      let before = yield* beats
      while (before.size < size) {
        yield* Effect.sleep("5 millis")
        before = yield* beats
      }
      const moved = (now: ReadonlyMap<string, number>) =>
        [...now].filter(([name, at]) => at !== before.get(name)).length
      while (moved(yield* beats) < size) yield* Effect.sleep("5 millis")
    }
  }).pipe(Effect.scoped)
