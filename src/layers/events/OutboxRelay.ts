/**
 * Moves what was staged in the outbox to the bus: claims streams, publishes their events in order, and removes
 * them after the bus has answered. Start as many as you like; they share the work.
 *
 * Why no event is lost and the first publications of a key are in order, whatever crashes when: an event is
 * removed only after its ack, and whoever publishes event n of a stream sends it after an acknowledged n - 1,
 * in the same batch or removed before. A crash in between, a lost ack or a relay that overslept its lease
 * sends the same events with the same ids again, which consumers drop by id or sequence.
 *
 * An absent bus spends no attempts: there are none to spend. Events wait, for as long as it takes.
 */
import {
  Cause,
  Clock,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Random,
  Ref,
  Result
} from "effect"

import type { BusRecord } from "../../domain/events/Envelope.ts"
import { EventBus, type EventBusError } from "../../domain/events/EventBus.ts"
import {
  type Claim,
  EventOutbox,
  type EventOutboxError,
  type Lease,
  type Published
} from "../../domain/events/EventOutbox.ts"
import { cut, publishedOf, type Sending, sendingOf } from "../../domain/events/Sending.ts"
import { Settings } from "../platform/Settings.ts"

export interface Options {
  /** Streams a round claims. */
  readonly batch: number
  /** How often an idle relay looks; each wait is drawn from its upper half. */
  readonly poll: Duration.Duration
  /** First wait after a failed round; it doubles up to the cap, with full jitter. */
  readonly backoffBase: Duration.Duration
  readonly backoffCap: Duration.Duration
  /** How long a stopping relay waits for the round in flight. */
  readonly drain: Duration.Duration
  /** How often the backlog is measured. */
  readonly measure: Duration.Duration
}

export const defaults: Options = {
  batch: 256,
  poll: Duration.millis(100),
  backoffBase: Duration.millis(50),
  backoffCap: Duration.seconds(5),
  drain: Duration.seconds(5),
  measure: Duration.seconds(5)
}

export type Health =
  | { readonly _tag: "Flowing" }
  /** No round has succeeded since then. What was staged waits. */
  | { readonly _tag: "Stalled"; readonly sinceMillis: number; readonly why: string }
  | { readonly _tag: "Stopped" }

export class OutboxRelay extends Context.Service<OutboxRelay, { readonly health: Effect.Effect<Health> }>()(
  "cribwork/events/OutboxRelay"
) {}

const published = Metric.counter("cribwork_events_published_total", {
  description: "Events that the bus has acknowledged, repeats included.",
  incremental: true
})
const parked = Metric.counter("cribwork_events_parked_total", {
  description: "Streams that were stopped before an event that cannot be published.",
  incremental: true
})
const waitingNow = Metric.gauge("cribwork_events_waiting_events", { description: "Staged events not yet published." })
const parkedNow = Metric.gauge("cribwork_events_parked_events", {
  description: "Staged events that are parked, or wait behind one that is."
})

type RoundError = EventOutboxError | EventBusError

const make = (options: Options) =>
  Effect.gen(function* () {
    const outbox = yield* EventOutbox
    const bus = yield* EventBus
    const owner = `relay-${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`
    const health = yield* Ref.make<Health>({ _tag: "Flowing" })
    const stopping = yield* Deferred.make<void>()
    /** Acknowledged by the bus, not yet removed. */
    let acked: ReadonlyArray<Published> = []
    /** Topics that the bus will not take until somebody repairs them. */
    const drifts = new Map<string, EventBusError>()

    const forget = Effect.gen(function* () {
      if (acked.length === 0) return
      const { busy, fenced } = yield* outbox.forget(owner, acked)
      acked = busy
      if (fenced.length > 0) {
        yield* Effect.logWarning(`${fenced.length} streams were published after the end of their lease; expect repeats`)
      }
    })

    const park = Effect.fnUntraced(function* ({ claim, poison }: Sending) {
      if (poison === undefined) return
      if (!(yield* outbox.park(owner, claim, poison.sequence, poison.why))) return
      yield* Metric.update(parked, 1)
      yield* Effect.logError(
        `event ${poison.sequence} of ${claim.topic} ${claim.key} cannot be published and is parked: ${poison.why}`
      )
    })

    /** A courtesy: a lease that is not given back runs out. */
    const release = (leases: ReadonlyArray<Lease>, delay: Duration.Duration) =>
      leases.length === 0
        ? Effect.void
        : Effect.ignore(Effect.timeout(outbox.release(owner, leases, delay), options.drain))

    /** Publishes all that can be published. */
    const publish = Effect.fnUntraced(function* (claims: ReadonlyArray<Claim>) {
      let sendings = claims.map(sendingOf)
      yield* Effect.forEach(sendings, park, { discard: true })
      for (;;) {
        const [first, ...others] = sendings.flatMap((sending) => sending.records)
        if (first === undefined) return sendings
        const answer = yield* Effect.result(bus.publish([first, ...others]))
        if (Result.isSuccess(answer)) {
          yield* Metric.update(published, 1 + others.length)
          for (const { claim } of sendings) drifts.delete(claim.topic)
          return sendings
        }
        const { reason } = answer.failure
        if (reason._tag === "Retriable") return yield* answer.failure
        if (reason._tag === "TopicDrifted") {
          // Waits for its repair; the other topics do not.
          drifts.set(reason.topic, answer.failure)
          const drifted = sendings.filter(({ claim }) => claim.topic === reason.topic)
          yield* release(drifted.map(leaseOf), options.backoffCap)
          sendings = sendings.filter(({ claim }) => claim.topic !== reason.topic)
          continue
        }
        const refused = new Map<BusRecord, string>(reason.refusals.map(({ record, why }) => [record, why]))
        const before = sendings
        sendings = sendings.map((sending) => cut(sending, refused))
        const changed = sendings.filter((sending, index) => sending !== before[index])
        // A bus that names none of ours would be asked the same for ever.
        if (changed.length === 0) return yield* answer.failure
        yield* Effect.forEach(changed, park, { discard: true })
      }
    }, Effect.withSpan("OutboxRelay.publish"))

    const round = Effect.gen(function* () {
      yield* forget
      const claims = yield* outbox.claim(owner, options.batch)
      if (claims.length === 0) return "idle"
      const sendings = yield* publish(claims).pipe(Effect.onError(() => release(claims, Duration.zero)))
      acked = [...acked, ...sendings.flatMap((sending) => publishedOf(sending) ?? [])]
      const stuck = sendings.filter((sending) => sending.records.length === 0)
      yield* release(stuck.map(leaseOf), Duration.zero)
      yield* forget
      return "busy"
    })

    const wait = (duration: Duration.Duration) => Effect.timeoutOption(Deferred.await(stopping), duration)

    const flow = Effect.gen(function* () {
      let failures = 0
      while (!(yield* Deferred.isDone(stopping))) {
        const exit = yield* Effect.exit(round)
        if (Exit.isFailure(exit)) {
          if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
          yield* stalled(exit.cause)
          const ceiling = Duration.min(Duration.times(options.backoffBase, 2 ** failures), options.backoffCap)
          failures = Math.min(failures + 1, doublingsMax)
          yield* wait(Duration.times(ceiling, yield* Random.next))
          continue
        }
        failures = 0
        const [drift] = drifts.values()
        yield* drift === undefined ? recovered : stalled(Cause.fail(drift))
        if (exit.value === "idle") yield* wait(Duration.times(options.poll, 0.5 + 0.5 * (yield* Random.next)))
      }
      yield* Effect.ignore(forget)
    })

    const recovered = Effect.flatMap(Ref.getAndSet(health, { _tag: "Flowing" }), (before) =>
      before._tag === "Stalled" ? Effect.logInfo("the outbox flows again") : Effect.void
    )

    /** Said once an outage, not once a round. */
    const stalled = Effect.fnUntraced(function* (cause: Cause.Cause<RoundError>) {
      const before = yield* Ref.get(health)
      const error = Cause.squash(cause)
      const why = error instanceof Error && error.message !== "" ? error.message : String(error)
      const sinceMillis = before._tag === "Stalled" ? before.sinceMillis : yield* Clock.currentTimeMillis
      yield* Ref.set(health, { _tag: "Stalled", sinceMillis, why })
      if (before._tag !== "Stalled") yield* Effect.logWarning("events wait: a round of the relay failed", cause)
    })

    const measure = Effect.gen(function* () {
      const now = yield* outbox.backlog
      yield* Metric.update(waitingNow, now.waiting)
      yield* Metric.update(parkedNow, now.parked)
    }).pipe(Effect.ignore, Effect.andThen(Effect.sleep(options.measure)), Effect.forever)

    yield* Effect.forkScoped(measure)
    const fiber = yield* Effect.forkScoped(flow)
    yield* Effect.addFinalizer(() =>
      Deferred.succeed(stopping, undefined).pipe(
        Effect.andThen(Effect.timeoutOption(Fiber.await(fiber), options.drain)),
        Effect.andThen(Fiber.interrupt(fiber)),
        Effect.andThen(Ref.set(health, { _tag: "Stopped" }))
      )
    )
    return OutboxRelay.of({ health: Ref.get(health) })
  })

export const layerWith = (options: Options) => Layer.effect(OutboxRelay, make(options))

export const layer = Layer.unwrap(
  Settings.useSync(({ relayBatch, relayPoll }) => layerWith({ ...defaults, batch: relayBatch, poll: relayPoll }))
)

const leaseOf = ({ claim }: Sending): Lease => claim

/** Beyond any cap, and far below what a number holds. */
const doublingsMax = 30
