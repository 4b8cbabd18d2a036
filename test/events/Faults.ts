/** Faults of the outbox and of the bus: each a layer around a layer, so that it fits every adapter. */
import { type Context, Deferred, Effect, Layer, Random, Ref } from "effect"

import { EventBus, EventBusError, Retriable, TopicDrifted } from "../../src/domain/events/EventBus.ts"
import { EventOutbox, EventOutboxError, OutboxUnavailable } from "../../src/domain/events/EventOutbox.ts"

const around =
  <I, S>(service: Context.Service<I, S>, change: (inner: S) => Effect.Effect<S>) =>
  <E, R>(layer: Layer.Layer<I, E, R>): Layer.Layer<I, E, R> =>
    Layer.effect(service, Effect.flatMap(service, change)).pipe(Layer.provide(layer))

const away = new EventBusError({ reason: new Retriable({ cause: new Error("unplugged on purpose") }) })
const unavailable = new EventOutboxError({ reason: new OutboxUnavailable({ cause: "unplugged on purpose" }) })

/** Nothing is written while `down` is true. */
export const unplug = (down: Ref.Ref<boolean>) =>
  around(EventBus, (bus) =>
    Effect.succeed({
      ...bus,
      publish: (records) => Effect.flatMap(Ref.get(down), (is) => (is ? Effect.fail(away) : bus.publish(records)))
    })
  )

/** Says when a publish has been written, and answers only after `go`. */
export const holdAck = (written: Deferred.Deferred<void>, go: Deferred.Deferred<void>) =>
  around(EventBus, (bus) =>
    Effect.succeed({
      ...bus,
      publish: (records) =>
        Effect.andThen(bus.publish(records), Effect.andThen(Deferred.succeed(written, undefined), Deferred.await(go)))
    })
  )

/** Refuses this topic for its partitions. */
export const drift = (topic: string) =>
  around(EventBus, (bus) =>
    Effect.succeed({
      ...bus,
      publish: (records) =>
        records.some((record) => record.topic === topic)
          ? Effect.fail(new EventBusError({ reason: new TopicDrifted({ topic, expected: 4, found: 5 }) }))
          : bus.publish(records)
    })
  )

const sometimes = (odds: number) => Effect.map(Random.next, (drawn) => drawn < odds)
const pause = (millisMax: number) => Effect.flatMap(Random.next, (drawn) => Effect.sleep(drawn * millisMax))

/** A bus that is slow, away, loses its ack, or writes long after it has failed. */
export const stormyBus = around(EventBus, (bus) =>
  Effect.succeed({
    ...bus,
    publish: Effect.fnUntraced(function* (records) {
      yield* pause(150)
      if (yield* sometimes(0.15)) return yield* away
      if (yield* sometimes(0.15)) {
        yield* Effect.forkDetach(Effect.andThen(pause(2000), Effect.ignore(bus.publish(records))))
        return yield* away
      }
      yield* bus.publish(records)
      yield* pause(150)
      if (yield* sometimes(0.15)) return yield* away
    })
  })
)

const storm = <A, R>(call: Effect.Effect<A, EventOutboxError, R>) =>
  Effect.gen(function* () {
    yield* pause(60)
    if (yield* sometimes(0.1)) return yield* unavailable
    const answer = yield* call
    yield* pause(60)
    if (yield* sometimes(0.1)) return yield* unavailable
    return answer
  })

/** An outbox that is slow, away, or loses its answer after it has acted. */
export const stormyOutbox = around(EventOutbox, (outbox) => {
  return Effect.succeed({
    ...outbox,
    claim: (owner, limit) => storm(outbox.claim(owner, limit)),
    forget: (owner, published) => storm(outbox.forget(owner, published)),
    release: (owner, leases, delay) => storm(outbox.release(owner, leases, delay)),
    park: (owner, lease, sequence, reason) => storm(outbox.park(owner, lease, sequence, reason))
  })
})

/** Never answers a `forget`, as if the process had died between the ack and it. */
export const dieBeforeForget = around(EventOutbox, (outbox) =>
  Effect.succeed({ ...outbox, forget: () => Effect.never, release: () => Effect.never })
)
