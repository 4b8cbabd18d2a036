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
import { hash } from "node:crypto"
import { readFileSync } from "node:fs"

import { Clock, Effect, Exit, Layer } from "effect"
import type { Duration } from "effect"
import { SecureRandom } from "effect/crypto"
import type { Redis as Client } from "ioredis"

import { impossible, Limiter, Quota } from "../../domain/limits/Limiter.ts"
import type { Ask, AskKey, Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import { Redis } from "../platform/Redis.ts"
import { Settings } from "../platform/Settings.ts"
import * as Decisions from "./Decisions.ts"
import { nowMicros, rateLimited, Windows, windowsBounds } from "./Windows.ts"
import type { WindowsBounds } from "./Windows.ts"

const script = readFileSync(new URL("decide.lua", import.meta.url), "utf8")
const scriptSha = hash("sha1", script)

/** Bytes of chance in the ids of one instance: two that meet would charge each other's decisions once. */
const instanceBytes = 6

/** Longer segments are sent as a digest, so that a name does not fill Redis. */
const segmentMax = 128

export interface RedisLimiterOptions {
  /** From ask to answer, including the reload of a forgotten script. */
  readonly deadline: Duration.Duration
  readonly shadow: WindowsBounds
}

const make = ({ deadline, shadow }: RedisLimiterOptions) =>
  Effect.gen(function* () {
    const redis = yield* Redis
    const windows = new Windows("shadow", shadow)
    const instance = Buffer.from(SecureRandom.randomBytesUnsafe(instanceBytes)).toString("base64url")
    let sequence = 0

    const decide = (ask: Ask, peeked: boolean) =>
      Effect.withFiber<Grant, LimiterError>((fiber) => {
        const never = impossible(ask)
        if (never !== undefined) return Effect.fail(never)
        const counted = (decision: Exit.Exit<Grant, LimiterError>) => {
          Decisions.count(decision, peeked, fiber.context)
          return decision
        }
        const now = () => nowMicros(fiber.getRef(Clock.Clock))
        const id = `${instance}${(sequence++).toString(36)}`
        return Effect.matchEffect(
          redis.use(deadline, (client) => evaluate(client, ask, id, peeked)),
          {
            onSuccess: (answer) => {
              if (answer[0] === 1 && !peeked) windows.record(ask, now())
              return counted(decisionOf(ask, answer))
            },
            onFailure: () => counted(peeked ? windows.peek(ask, now()) : windows.take(ask, now()))
          }
        )
      })

    return Limiter.of({ take: (ask) => decide(ask, false), peek: (ask) => decide(ask, true) })
  })

export const layerWith = (options: RedisLimiterOptions): Layer.Layer<Limiter, never, Redis> =>
  Layer.effect(Limiter, make(options))

export const layer: Layer.Layer<Limiter, never, Redis | Settings> = Layer.unwrap(
  Settings.useSync(({ redisDeadline }) => layerWith({ deadline: redisDeadline, shadow: windowsBounds }))
)

/** What `decide.lua` says; asked twice under one id, it charges once. */
export const evaluate = (client: Client, { keys, cost }: Ask, id: string, looking: boolean): Promise<Answer> => {
  const names: Array<string> = []
  const values: Array<string | number> = [id, cost, looking ? 1 : 0]
  for (const key of keys) {
    names.push(keyName(key))
    values.push(key.policy.limit, key.policy.windowMicros)
  }
  return (client.evalsha(scriptSha, keys.length, ...names, ...values) as Promise<Answer>).catch((error: unknown) => {
    if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error
    return client.eval(script, keys.length, ...names, ...values) as Promise<Answer>
  })
}

/** Verdict and Redis' time in microseconds, then as the script's header says. */
export type Answer = readonly [verdict: 0 | 1, now: number, ...rest: ReadonlyArray<number>]

export const decisionOf = ({ keys }: Ask, [verdict, , ...rest]: Answer): Exit.Exit<Grant, LimiterError> => {
  const policyAt = (place: number) => (keys[place] ?? keys[0]).policy
  if (verdict === 1) {
    return Exit.succeed({
      quotas: keys.map(({ policy }, place) => new Quota(policy, rest[2 * place] ?? 0, rest[2 * place + 1] ?? 0)),
      source: "redis"
    })
  }
  const [wait = 0, first = 1, ...others] = rest
  const violated = [policyAt(first - 1).name, ...others.map((place) => policyAt(place - 1).name)] as const
  return Exit.fail(rateLimited(violated, wait, "redis"))
}

/** Escaped, since a raw `:` or `}` would forge another key; `{}` would be no tag, so `%` stands for nothing. */
export const keyName = ({ policy, key: [tag = "", ...narrower] }: AskKey): string => {
  let name = `{${escaped(tag) || "%"}}:${policy.name}`
  for (const segment of narrower) name += `:${escaped(segment)}`
  return name
}

const escaped = (segment: string): string => {
  if (segment.length > segmentMax || !segment.isWellFormed()) {
    return `%~${hash("sha256", Buffer.from(segment, "utf16le"), "base64url")}` // No escape begins with `%~`.
  }
  return encodeURIComponent(segment)
}
