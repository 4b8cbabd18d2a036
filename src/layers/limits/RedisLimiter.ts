/**
 * A `Limiter` that all processes share: one Redis sorted set a key, one script a decision, Redis' own clock.
 * It never makes a request fail or hang for Redis' sake: without an answer in `deadline` this process decides
 * alone, from a shadow that also wrote down what it was granted before.
 *
 * What that gives up: a shadow knows its own process only. While Redis is away, n processes admit up to n
 * times the limit, and what they admitted is not told to Redis when it returns.
 *
 * Keys are `{tenant}:policy:user:route`, so that in a cluster all keys of one decision share a slot.
 */
import { Clock, Effect, Exit, Layer } from "effect"
import type { Duration } from "effect"
import type { Redis as Client } from "ioredis"

import { CannotDecide, impossible, Limiter, LimiterError, Quota } from "../../domain/limits/Limiter.ts"
import type { Ask, Grant } from "../../domain/limits/Limiter.ts"
import { Redis } from "../platform/Redis.ts"
import { Settings } from "../platform/Settings.ts"
import * as Decisions from "./Decisions.ts"
import * as Ids from "./Ids.ts"
import { keyName } from "./KeyName.ts"
import type { RingId } from "./Ring.ts"
import { Script } from "./Script.ts"
import { Granted, nowMicros, rateLimited, Windows, windowsBounds } from "./Windows.ts"
import type { WindowsBounds } from "./Windows.ts"

export interface RedisLimiterOptions {
  /** From ask to answer, including the reload of a forgotten script. */
  readonly deadline: Duration.Duration
  readonly shadow: WindowsBounds
}

const make = ({ deadline, shadow }: RedisLimiterOptions) =>
  Effect.gen(function* () {
    const redis = yield* Redis
    const ids = yield* Ids.make
    const windows = new Windows("shadow", shadow, ids)

    const decide = (ask: Ask, peeked: boolean) =>
      Effect.withFiber<Grant, LimiterError>((fiber) => {
        const never = impossible(ask)
        if (never !== undefined) return Effect.fail(never)
        const counted = (decision: Exit.Exit<Grant, LimiterError>) => {
          Decisions.count(decision, peeked, fiber.context)
          return decision
        }
        const now = () => nowMicros(fiber.getRef(Clock.Clock))
        const id = ask.id === undefined ? ids.next() : ids.read(ask.id)
        const named: Ask = { keys: ask.keys, cost: ask.cost, id: ids.text(id) }
        return Effect.matchEffect(
          redis.use(deadline, (client) => evaluate(client, ask, ids.text(id), peeked)),
          {
            onSuccess: (answer) => {
              if (answer[0] === 1 && !peeked) windows.record(named, now())
              return counted(decisionOf(ask, answer, ids, id))
            },
            onFailure: () => counted(peeked ? windows.peek(named, now()) : windows.take(named, now()))
          }
        )
      })

    return Limiter.of({
      take: (ask) => decide(ask, false),
      peek: (ask) => decide(ask, true),
      refund: (spent) =>
        Effect.clockWith((clock) => {
          const here = windows.refund(spent, nowMicros(clock))
          return redis
            .use(deadline, (client) => refunding.run(client, spent.keys.map(keyName), [spent.id, spent.cost]))
            .pipe(
              Effect.map((there) => Math.max(here, there)),
              Effect.mapError((cause) => new LimiterError({ reason: new CannotDecide({ cause }) }))
            )
        }),
      reset: (keys) =>
        Effect.suspend(() => {
          windows.reset(keys)
          return redis
            .use(deadline, (client) => client.del(...keys.map(keyName)))
            .pipe(
              Effect.asVoid,
              Effect.mapError((cause) => new LimiterError({ reason: new CannotDecide({ cause }) }))
            )
        })
    })
  })

export const layerWith = (options: RedisLimiterOptions): Layer.Layer<Limiter, never, Redis> =>
  Layer.effect(Limiter, make(options))

export const layer: Layer.Layer<Limiter, never, Redis | Settings> = Layer.unwrap(
  Settings.useSync(({ redisDeadline }) => layerWith({ deadline: redisDeadline, shadow: windowsBounds }))
)

const deciding = new Script<Answer>("decide.lua")
const refunding = new Script<number>("refund.lua")

/** What `decide.lua` says; asked twice under an id that was brought, it charges once. */
export const evaluate = (client: Client, ask: Ask, id: string, looking: boolean): Promise<Answer> => {
  const names: Array<string> = []
  const values: Array<string | number> = [id, ask.id === undefined ? 0 : 1, ask.cost, looking ? 1 : 0]
  for (const key of ask.keys) {
    names.push(keyName(key))
    values.push(key.policy.limit, key.policy.windowMicros, key.policy.observe ? 1 : 0)
  }
  return deciding.run(client, names, values)
}

/** Verdict and Redis' time in microseconds, then as the script's header says. */
export type Answer = readonly [verdict: 0 | 1, now: number, ...rest: ReadonlyArray<number>]

export const decisionOf = (
  { keys }: Ask,
  [verdict, , ...rest]: Answer,
  ids: Ids.Ids,
  id: RingId
): Exit.Exit<Grant, LimiterError> => {
  const policyAt = (place: number) => (keys[place] ?? keys[0]).policy
  if (verdict === 1) {
    const quotas = keys.map(({ policy }, place) => new Quota(policy, rest[2 * place] ?? 0, rest[2 * place + 1] ?? 0))
    return Exit.succeed(new Granted(ids, id, quotas, "redis"))
  }
  const [wait = 0, first = 1, ...others] = rest
  const violated = [policyAt(first - 1).name, ...others.map((place) => policyAt(place - 1).name)] as const
  return Exit.fail(rateLimited(violated, wait, "redis"))
}
