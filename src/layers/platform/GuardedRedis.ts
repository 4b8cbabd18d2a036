/**
 * A layer around `Redis`: commands go through the breaker of `redis`, and whoever is refused hears what a Redis
 * that is away says. It sets no timer, since each command ends by its own deadline there. When the breaker opens
 * while commands are unanswered, their connection is given up, so that the next look is taken on a new one and
 * not behind a silence.
 *
 * That Redis says no proves that it is there (`WRONGTYPE`, `NOSCRIPT`), unless it says that it cannot serve.
 */
import { Duration, Effect, Exit, Layer, Stream } from "effect"

import { Breaker, BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { Redis, type RedisError, RedisUnavailable } from "./Redis.ts"
import { serverPolicy } from "./ServerPolicy.ts"
import { Settings } from "./Settings.ts"

/**
 * A replica that was a master, a server that starts, is full, has lost its disk, its replicas or its slots, waits
 * for a script, or does not know us: https://github.com/redis/redis, `shared` in server.c and scripting errors.
 */
const cannotServe = new Set([
  "READONLY",
  "LOADING",
  "CLUSTERDOWN",
  "MASTERDOWN",
  "OOM",
  "MISCONF",
  "NOREPLICAS",
  "BUSY",
  "TRYAGAIN",
  "NOAUTH",
  "WRONGPASS",
  "NOPERM"
])

export const classify: Dependency.Classify<RedisError> = (exit): Outcome => {
  if (Exit.isSuccess(exit)) return { _tag: "Success" }
  const failure = Exit.findErrorOption(exit)
  if (failure._tag === "None") return { _tag: "Ignored" }
  const error = failure.value
  return { _tag: error._tag === "RedisRefused" && !cannotServe.has(error.code) ? "Success" : "Failure" }
}

export interface Options {
  /** The longest that a command of a request may take. */
  readonly deadline: Duration.Duration
  /** Processes that share the server. */
  readonly fleet: number
}

/** What work that no request waits for, such as telling an emptied Redis what it lost, gives one command. */
const longestDeadline = Duration.seconds(1)

const make = Effect.fnUntraced(function* ({ deadline, fleet }: Options) {
  const inner = yield* Redis
  const breaker = yield* Breaker
  const breakers = yield* Breakers
  const timeout = Duration.max(longestDeadline, deadline)
  const redis = Dependency.make("redis", "redis", serverPolicy({ breakerFleet: fleet }, { timeout, endedBy: "client" }))
  yield* breakers.declare(redis)

  yield* breakers.changes.pipe(
    Stream.filter(({ dependency, to }) => dependency === redis.name && to === "open"),
    Stream.runForEach(() => inner.renew),
    Effect.forkScoped({ startImmediately: true })
  )

  /** One for each deadline in use, of which there are as many as callers in the code. */
  const commands = new Map<number, Dependency.Write<RedisError>>()
  const commandOf = (deadline: Duration.Input) => {
    const millis = Duration.toMillis(deadline)
    const known = commands.get(millis)
    if (known !== undefined) return known
    const command = Dependency.write<RedisError>(redis, "command", {
      classify,
      timeout: Math.min(millis, Duration.toMillis(timeout))
    })
    commands.set(millis, command)
    return command
  }

  return Redis.of({
    ...inner,
    use: (deadline, send) =>
      Effect.catchIf(
        breaker.write(commandOf(deadline), inner.use(deadline, send)),
        (error) => error instanceof BreakerError,
        (error) => Effect.fail(new RedisUnavailable({ detail: error.message, cause: error }))
      )
  })
})

export const layerWith = (options: Options): Layer.Layer<Redis, PolicyRefused, Redis | Breaker | Breakers> =>
  Layer.effect(Redis, make(options))

export const layer: Layer.Layer<Redis, PolicyRefused, Redis | Breaker | Breakers | Settings> = Layer.unwrap(
  Settings.useSync(({ breakerFleet, redisDeadline, redisKeyBudget }) =>
    layerWith({ deadline: Duration.max(redisDeadline, redisKeyBudget), fleet: breakerFleet })
  )
)
