/**
 * A layer around the `EventBus` on Kafka: what is published goes through the breaker of `kafka`, and whoever is
 * refused is told to try again, as by a Kafka that is away. A publish is one call, however many requests it is
 * cut into; one that takes longer than `publishMax` is given up, and what it had written is written again, which
 * the port allows. That Kafka refuses a record, or has a topic of another shape, proves that it is there.
 *
 * A read has no end, so that how it ends shows nothing: it is only not begun while the breaker is open.
 */
import { Duration, Effect, Exit, Layer, Stream } from "effect"

import { Breaker, BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { EventBus, EventBusError, Retriable } from "../../domain/events/EventBus.ts"
import { serverPolicy } from "../platform/ServerPolicy.ts"
import { Settings } from "../platform/Settings.ts"

/** A topic that is made, a connection, and Kafka's own time for a full request. */
const publishMax = Duration.seconds(30)

export const classify: Dependency.Classify<EventBusError> = (exit): Outcome => {
  if (Exit.isSuccess(exit)) return { _tag: "Success" }
  const failure = Exit.findErrorOption(exit)
  if (failure._tag === "None") return { _tag: "Ignored" }
  return { _tag: failure.value.reason._tag === "Retriable" ? "Failure" : "Success" }
}

const make = Effect.gen(function* () {
  const inner = yield* EventBus
  const breaker = yield* Breaker
  const policy = serverPolicy(yield* Settings, { timeout: publishMax })
  const kafka = Dependency.make("kafka", "kafka", policy)
  yield* (yield* Breakers).declare(kafka)
  const publish = Dependency.write<EventBusError>(kafka, "publish", { classify })

  return EventBus.of({
    publish: (records) =>
      Effect.catchIf(
        breaker.write(publish, inner.publish(records)),
        (error) => error instanceof BreakerError,
        (cause) => Effect.fail(new EventBusError({ reason: new Retriable({ cause }) }))
      ),
    read: (topic, from) =>
      Stream.unwrap(
        Effect.map(breaker.permits(kafka), ({ admits, retryAfter }) =>
          admits ? inner.read(topic, from) : Stream.fail(notBegun(retryAfter))
        )
      )
  })
})

export const layer: Layer.Layer<EventBus, PolicyRefused, EventBus | Breaker | Breakers | Settings> = Layer.effect(
  EventBus,
  make
)

const notBegun = (retryAfter: Duration.Duration) =>
  new EventBusError({
    reason: new Retriable({ cause: new Error(`kafka is not read from for ${Duration.format(retryAfter)}`) })
  })
