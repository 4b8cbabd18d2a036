/**
 * One multiplexed connection to Redis, over ioredis, for callers who can do without it: every command has a
 * deadline, nothing waits for a connection, nothing is sent a second time, and what may be unanswered at once
 * is bounded. A Redis that is away costs its callers one refusal, not a hang; the connection is made again in
 * the background, with jittered backoff, and ends with its scope.
 */
import { Duration, Effect, Context, Layer, Random, Redacted, Schema } from "effect"
import { Redis as Client } from "ioredis"

import * as Deadlines from "./Deadlines.ts"

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

/**
 * Not in ioredis' types: how long a closed client waits for its peer, which may be hung, before it drops the
 * socket; and it waits as long for a socket that is gone already.
 */
const abrupt = { disconnectTimeout: 0 }

const make = (url: Redacted.Redacted, options: RedisOptions) =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const log = Effect.runForkWith(yield* Effect.context<never>())
    const deadlines = yield* Deadlines.make
    let trouble = "not connected yet"
    let away = false
    let unanswered = 0

    const client = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new Client(Redacted.value(url), {
            enableOfflineQueue: false,
            autoResendUnfulfilledCommands: false,
            maxRetriesPerRequest: 0,
            connectTimeout: Duration.toMillis(options.connectTimeout),
            socketTimeout: Duration.toMillis(options.silenceMax),
            retryStrategy: (attempt) => backoff(options, attempt, random.nextDoubleUnsafe()),
            lazyConnect: true,
            ...abrupt
          })
      ),
      (client) => Effect.sync(() => client.disconnect())
    )
    client.on("error", (error: Error) => {
      trouble = told(error)
    })
    client.on("ready", () => {
      trouble = "connection lost"
      away = false
      log(Effect.logInfo("Redis answers."))
    })
    client.on("close", () => {
      if (away || client.status === "end") return
      away = true
      log(Effect.logWarning(`Redis is away: ${trouble.replace(/\.$/, "")}.`))
    })

    const settled = Effect.callback<void>((resume) => {
      const done = () => resume(Effect.void)
      client.once("ready", done)
      client.once("close", done)
      client.connect().catch(() => {}) // Told by the listeners above, and tried again.
    })
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
      ready: Effect.sync(() => client.status === "ready"),
      renew: Effect.sync(() => {
        if (unanswered > 0 && client.status === "ready") client.disconnect(true)
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
