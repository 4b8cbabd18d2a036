/**
 * A second connection to Redis, which only listens: one that listens can be asked nothing else. Of a Cluster, whose
 * nodes pass on what is said at any of them, it takes one node, and another when that is lost. It connects in the
 * background, so that nobody's start waits for it, comes back by itself with jittered backoff, and then listens to
 * the same channels. A word that is said while it is away is lost; a connection that is dead without saying so is
 * noticed by a ping every `pulse`. It ends with its scope.
 */
import { Context, Duration, Effect, Layer, Option, Queue, Random, Redacted, Stream } from "effect"
import type { Redis as Client } from "ioredis"

import { backoff, redisOptions } from "./Redis.ts"
import type { RedisOptions } from "./Redis.ts"
import * as RedisClient from "./RedisClient.ts"
import * as RedisUrl from "./RedisUrl.ts"

export interface SubscriberOptions extends Pick<
  RedisOptions,
  "silenceMax" | "connectTimeout" | "backoffBase" | "backoffCap"
> {
  /** How often a connection is asked whether it is still there. */
  readonly pulse: Duration.Duration
}

const subscriberOptions: SubscriberOptions = { ...redisOptions, pulse: Duration.seconds(5) }

/** What a reader may lag behind; of more it misses the oldest. */
const messagesMax = 256

export class RedisSubscriber extends Context.Service<
  RedisSubscriber,
  {
    /** What is said on a channel while there is a connection. Endless, and never fails. */
    readonly messages: (channel: string) => Stream.Stream<string>
    /** Whether all that is asked for is being listened to; never waits. */
    readonly ready: Effect.Effect<boolean>
  }
>()("cribwork/platform/RedisSubscriber") {}

/** Where the given attempt to connect leads. */
const placeOf = (place: RedisUrl.RedisPlace, attempt: number) => {
  if (place._tag !== "Cluster") return place
  const { login, nodes, tls } = place
  return { _tag: "Single", tls, login, at: nodes[attempt % nodes.length] ?? nodes[0], db: 0 } as const
}

const make = (url: Redacted.Redacted, options: SubscriberOptions) =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const place = RedisUrl.parse(Redacted.value(url))
    if (Option.isNone(place)) return yield* Effect.die(new Error(`the URL of Redis must be ${RedisUrl.form}`))
    const readers = new Map<string, Set<(message: string) => void>>()
    /** Channels that the connection of now is known to listen to. */
    const heard = new Set<string>()
    let connected: Client | undefined

    /** Refused or lost it is asked for again at the next pulse, or with the next connection. */
    const listen = () => {
      const client = connected
      for (const channel of readers.keys()) {
        if (heard.has(channel)) continue
        client?.subscribe(channel).then(
          // Meanwhile its reader may have gone, or the connection.
          () => client === connected && readers.has(channel) && heard.add(channel),
          () => {}
        )
      }
    }
    const pulse = Effect.sync(() => {
      connected?.ping().catch(() => {}) // Unanswered, it costs the connection; `silenceMax` says when.
      listen()
    })

    /** One connection, from the attempt to its end; true if there was one. */
    const session = (attempt: number) =>
      Effect.callback<boolean>((resume) => {
        const pause = () => backoff(options, attempt + 1, random.nextDoubleUnsafe())
        const client = RedisClient.makeOne(placeOf(place.value, attempt), { ...options, pause })
        let ready = false
        const over = () => {
          if (connected === client) connected = undefined
          heard.clear()
          client.disconnect()
        }
        client.on("error", () => {}) // Whoever asks Redis something tells of it.
        client.on("ready", () => {
          ready = true
          connected = client
          listen()
        })
        client.on("message", (channel: string, message: string) => {
          for (const read of readers.get(channel) ?? []) read(message)
        })
        client.once("close", () => {
          over()
          resume(Effect.succeed(ready))
        })
        client.connect().catch(() => {})
        return Effect.sync(over)
      })
    const sessions = Effect.gen(function* () {
      let failures = 0
      for (let attempt = 0; ; attempt++) {
        failures = (yield* session(attempt)) ? 0 : failures + 1
        yield* Effect.sleep(Duration.millis(backoff(options, failures + 1, random.nextDoubleUnsafe())))
      }
    })
    yield* Effect.forkScoped(sessions)
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(options.pulse), pulse)))

    const messages: RedisSubscriber["Service"]["messages"] = (channel) =>
      Stream.callback<string>(
        (queue) => {
          const read = (message: string) => void Queue.offerUnsafe(queue, message)
          return Effect.acquireRelease(
            Effect.sync(() => {
              readers.set(channel, (readers.get(channel) ?? new Set()).add(read))
              listen()
            }),
            () =>
              Effect.sync(() => {
                const left = readers.get(channel)
                left?.delete(read)
                if (left?.size !== 0) return
                readers.delete(channel)
                heard.delete(channel)
                connected?.unsubscribe(channel).catch(() => {})
              })
          )
        },
        { bufferSize: messagesMax, strategy: "sliding" }
      )

    return RedisSubscriber.of({
      messages,
      ready: Effect.sync(() => connected !== undefined && [...readers.keys()].every((channel) => heard.has(channel)))
    })
  })

export const layer = (url: Redacted.Redacted, options: Partial<SubscriberOptions> = {}): Layer.Layer<RedisSubscriber> =>
  Layer.effect(RedisSubscriber, make(url, { ...subscriberOptions, ...options }))
