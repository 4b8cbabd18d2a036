/**
 * Lets the breakers of a fleet learn from each other. One that opens says so on a channel of Redis; where it is
 * heard, a fifth of the usual evidence opens the breaker of the same name for a while. The local breaker decides,
 * always: hearsay opens nothing, no call waits for Redis or costs it a round trip, and while Redis is away each
 * process finds out alone, as it would without this layer.
 *
 * An opening on such a fifth is not told on: one failed call a minute anywhere would otherwise keep a whole fleet on
 * edge for ever. The breaker of Redis itself takes part in nothing, since what it has to say could not be heard.
 */
import { Clock, Duration, Effect, Layer, Random, Schema, Stream } from "effect"

import { Breakers, type Transition } from "../../domain/breakers/Breakers.ts"
import { Redis } from "../platform/Redis.ts"
import { RedisSubscriber } from "../platform/RedisSubscriber.ts"

export const channel = "cribwork:breakers:openings"

/** The name that the breaker of Redis has, where it has one. */
const ofRedis = "redis"

/** How long hearsay counts. Who still sees it down says so again with every failed probe. */
const hintLasting = Duration.seconds(30)

/** News that is not told in time is not told. */
const tellingMax = Duration.millis(250)

/** Longest name that is told, longest word that is read, and how many names are remembered to be hearsay. */
const nameMax = 300
const wordMax = 1024
const hearsayMax = 1000

/** `by` is the process that says it, which does not listen to itself. */
const Opening = Schema.fromJsonString(
  Schema.Struct({
    by: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(64)),
    opened: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(nameMax))
  })
)
const readOpening = Schema.decodeUnknownOption(Opening)
const written = Schema.encodeSync(Opening)

const make = Effect.gen(function* () {
  const breakers = yield* Breakers
  const redis = yield* Redis
  const subscriber = yield* RedisSubscriber
  const clock = yield* Clock.Clock
  const by = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)
  const nowMillis = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  /** Until when what is heard of a dependency counts here. */
  const hearsay = new Map<string, number>()

  const isHearsay = (dependency: string) => (hearsay.get(dependency) ?? Number.NEGATIVE_INFINITY) > nowMillis()

  /** False when there are too many to remember one more. */
  const remember = (dependency: string): boolean => {
    const now = nowMillis()
    if (hearsay.size >= hearsayMax) for (const [name, until] of hearsay) if (until <= now) hearsay.delete(name)
    if (hearsay.size >= hearsayMax && !hearsay.has(dependency)) return false
    hearsay.set(dependency, now + Duration.toMillis(hintLasting))
    return true
  }

  const hear = (word: string) =>
    Effect.suspend(() => {
      const opening = word.length > wordMax ? undefined : readOpening(word)
      if (opening?._tag !== "Some" || opening.value.by === by || opening.value.opened === ofRedis) return Effect.void
      const { opened } = opening.value
      return remember(opened) ? breakers.hint(opened, hintLasting) : Effect.void
    })

  const tell = ({ dependency }: Transition) =>
    Effect.ignore(redis.use(tellingMax, (client) => client.publish(channel, written({ by, opened: dependency }))))

  const hearing = Stream.runForEach(subscriber.messages(channel), hear)
  const telling = breakers.changes.pipe(
    Stream.filter((change) => isSeen(change) && !isHearsay(change.dependency)),
    Stream.runForEach(tell)
  )
  // Both listen before whatever is built upon this layer begins.
  yield* Effect.forkScoped(hearing, { startImmediately: true })
  yield* Effect.forkScoped(telling, { startImmediately: true })
})

/** Opened by what its own calls showed, not by an operator, whose orders take their own way. */
const isSeen = ({ dependency, from, to }: Transition) =>
  to === "open" && !from.startsWith("forced-") && dependency !== ofRedis && dependency.length <= nameMax

export const layer: Layer.Layer<never, never, Breakers | Redis | RedisSubscriber> = Layer.effectDiscard(make)
