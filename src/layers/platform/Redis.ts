/**
 * One multiplexed connection to Redis, or to each master of a Cluster, over ioredis, for callers who can do
 * without it: every command has a deadline, nothing waits for a connection, nothing is sent a second time, and
 * what may be unanswered at once is bounded. A Redis that is away costs its callers one refusal, not a hang;
 * the connection is made again in the background, with jittered backoff, and ends with its scope.
 */
import { Duration, Effect, Context, Layer, Option, Random, Redacted, Schema } from "effect"

import * as Deadlines from "./Deadlines.ts"
import * as RedisClient from "./RedisClient.ts"
import type { Client } from "./RedisClient.ts"
import * as RedisUrl from "./RedisUrl.ts"

/** No connection, or too much unanswered on it already. The command was not sent, or its answer is lost. */
export class RedisUnavailable extends Schema.TaggedError<RedisUnavailable>()("RedisUnavailable", {
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {}

/** No answer in time. The command may still take effect. */
export class RedisTimeout extends Schema.TaggedError<RedisTimeout>()("RedisTimeout", { deadline: Schema.Duration }) {}

/** Redis answered with an error (`WRONGTYPE …`, `READONLY …`, `OOM …`): the code, and the whole sentence. */
export class RedisRefused extends Schema.TaggedError<RedisRefused>()("RedisRefused", {
  code: Schema.String,
  detail: Schema.String
}) {}

export type RedisError = RedisUnavailable | RedisTimeout | RedisRefused

export interface RedisOptions {
  /** Commands that may be unanswered at once; above it the next is refused unsent. */
  readonly unansweredMax: number
  /** Silence, while a command waits, after which the connection is given up for dead. */
  readonly silenceMax: Duration.Duration
  /** How long one attempt to connect may take. */
  readonly connectTimeout: Duration.Duration
  /** First and longest pause between two attempts to connect; each is drawn between half and all of it. */
  readonly backoffBase: Duration.Duration
  readonly backoffCap: Duration.Duration
  /** How long building the layer waits for the first answer; after it the program starts without Redis. */
  readonly bootWait: Duration.Duration
}

/**
 * For a server in the same data centre. Silence of a second is no pause of a busy machine; until it is
 * noticed callers wait for their deadlines, `unansweredMax` of them at most.
 */
export const redisOptions: RedisOptions = {
  unansweredMax: 1024,
  silenceMax: Duration.seconds(1),
  connectTimeout: Duration.seconds(2),
  backoffBase: Duration.millis(50),
  backoffCap: Duration.seconds(2),
  bootWait: Duration.seconds(1)
}

export class Redis extends Context.Service<
  Redis,
  {
    /** Sends commands through the typed client, `(client) => client.get(key)`, and waits for `deadline` at most. */
    readonly use: <A>(deadline: Duration.Input, send: (client: Client) => Promise<A>) => Effect.Effect<A, RedisError>
    /** Whether commands are being answered now; never waits. */
    readonly ready: Effect.Effect<boolean>
    /** Gives up a connection on which commands are unanswered, and makes another. */
    readonly renew: Effect.Effect<void>
  }
>()("cribwork/platform/Redis") {}

const make = (url: Redacted.Redacted, options: RedisOptions) =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const deadlines = yield* Deadlines.make
    let trouble = "not connected yet"
    let away = false
    let unanswered = 0

    const place = RedisUrl.parse(Redacted.value(url))
    if (Option.isNone(place)) return yield* Effect.die(new Error(`the URL of Redis must be ${RedisUrl.form}`))
    const pause = (attempt: number) => backoff(options, attempt, random.nextDoubleUnsafe())
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => RedisClient.make(place.value, { ...options, pause })),
      (client) =>
        Effect.sync(() => {
          away = true // Nobody needs to hear of this.
          client.disconnect()
        })
    )
    const events: NodeJS.EventEmitter = client
    const lost = () => {
      if (away) return
      away = true
      log(Effect.logWarning(`Redis is away: ${trouble.replace(/\.$/, "")}.`))
    }
    const failed = (error: Error) => {
      trouble = told(error)
    }
    events.on("error", failed)
    events.on("node error", failed)
    events.on("sentinelError", (error: Error) => {
      failed(error)
      lost()
    })
    events.on("ready", () => {
      trouble = "connection lost"
      away = false
      log(Effect.logInfo("Redis answers."))
    })
    events.on("close", lost)

    // A failure is told by the listeners above, and tried again.
    const settled = Effect.promise(() => RedisClient.connect(client).catch(() => {}))
    yield* Effect.timeoutOption(settled, options.bootWait)

    return Redis.of({
      use: <A>(deadline: Duration.Input, send: (client: Client) => Promise<A>) =>
        Effect.suspend(() => {
          if (client.status !== "ready") return Effect.fail(new RedisUnavailable({ detail: trouble }))
          if (unanswered >= options.unansweredMax) {
            return Effect.fail(new RedisUnavailable({ detail: `${unanswered} commands are unanswered` }))
          }
          return Effect.callback<A, RedisError>((resume) => {
            const sent = send(client)
            unanswered++
            const wait = deadlines.start(deadline, () =>
              resume(Effect.fail(new RedisTimeout({ deadline: Duration.fromInputUnsafe(deadline) })))
            )
            const answered = (outcome: Effect.Effect<A, RedisError>) => {
              unanswered--
              wait.end()
              return resume(outcome)
            }
            sent.then(
              (value) => answered(Effect.succeed(value)),
              (error: unknown) => answered(Effect.fail(failureOf(error)))
            )
            return Effect.sync(() => {
              wait.end()
            })
          })
        }),
      ready: Effect.sync(() => RedisClient.isReady(client)),
      renew: Effect.sync(() => {
        if (unanswered > 0 && RedisClient.isReady(client)) client.disconnect(true)
      })
    })
  })

export const layer = (url: Redacted.Redacted, options: Partial<RedisOptions> = {}): Layer.Layer<Redis> =>
  Layer.effect(Redis, make(url, { ...redisOptions, ...options }))

/** Doubles from `backoffBase` to `backoffCap`, half of it drawn, so that a fleet does not return as one. */
export const backoff = (
  { backoffBase, backoffCap }: Pick<RedisOptions, "backoffBase" | "backoffCap">,
  attempt: number,
  drawn: number
): number => {
  const longest = Math.min(
    Duration.toMillis(backoffCap),
    Duration.toMillis(backoffBase) * 2 ** Math.min(attempt - 1, 30)
  )
  return Math.ceil(longest / 2 + (longest / 2) * drawn)
}

/** Messages only: the error's other members hold the command's arguments, of which one may be a password. */
const told = (error: unknown): string => {
  if (error instanceof AggregateError) return error.errors.map(told).join(", ")
  return error instanceof Error && error.message !== "" ? error.message : "no reason given"
}

const failureOf = (error: unknown): RedisError =>
  error instanceof Error && error.name === "ReplyError"
    ? new RedisRefused({ code: error.message.split(" ", 1)[0] ?? "", detail: error.message })
    : new RedisUnavailable({ detail: told(error) })
