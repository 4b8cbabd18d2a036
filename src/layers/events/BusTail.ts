/**
 * Shows what arrives on the bus, for whoever watches: each event while there are few, their number when there
 * are many, so that a load test does not drown in its own log.
 */
import { Duration, Effect, Layer, Stream } from "effect"

import { EventBus, type ReadRecord } from "../../domain/events/EventBus.ts"

/** Events that are told one by one, of those that arrive within `window`. */
const tellMax = 5
const window = Duration.millis(500)
const restart = Duration.seconds(5)

const tell = (records: ReadonlyArray<ReadRecord>) =>
  records.length <= tellMax
    ? Effect.forEach(records, (record) =>
        Effect.logInfo(`${record.topic} ${record.headers["ce_type"] ?? "event"} ${record.key}`)
      )
    : Effect.logInfo(`${records[0]?.topic ?? ""} ${records.length} events`)

export const layer = (topic: string): Layer.Layer<never, never, EventBus> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const bus = yield* EventBus
      yield* bus.read(topic, "latest").pipe(
        Stream.groupedWithin(4096, window),
        Stream.runForEach(tell),
        Effect.catchCause((cause) => Effect.logDebug("the bus cannot be watched for now", cause)),
        Effect.andThen(Effect.sleep(restart)),
        Effect.forever,
        Effect.forkScoped
      )
    })
  )
