/**
 * Carries staged commands to the provider. Claims no more than it can have in flight, and nothing while the
 * breaker is open; what it learns settles the charge in one call. Stops by letting the calls in flight come
 * to their end, since cutting one makes its outcome unknown.
 */
import { Cause, Context, Duration, Effect, FiberSet, Latch, Layer, Metric, Option, Random, Ref, Schedule } from "effect"
import { SecureRandom } from "effect/crypto"

import { Breaker, type BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers } from "../../domain/breakers/Breakers.ts"
import * as Deadline from "../../domain/Deadline.ts"
import { type ChargesUnavailable, Charges, type Verdict } from "../../domain/payments/Charges.ts"
import { IdempotencyStore } from "../../domain/payments/IdempotencyStore.ts"
import * as NextStep from "../../domain/payments/NextStep.ts"
import {
  type Ack,
  type AttemptClass,
  type Lease,
  Outbox,
  type OutboxUnavailable
} from "../../domain/payments/Outbox.ts"
import { type Capture, type Captured, type Declined, Psp, PspError, Unknown } from "../../domain/payments/Psp.ts"
import { classOf, judge } from "../../domain/payments/PspVerdict.ts"
import { continueFrom } from "../platform/Origin.ts"
import { Settings } from "../platform/Settings.ts"
import * as ProviderCalls from "./ProviderCalls.ts"
import { Wake } from "./Wake.ts"

const attempts = (kind: AttemptClass | "parked" | "stale") =>
  Metric.counter("cribwork_payments_attempts_total", {
    description: "Attempts to execute a command at the provider, by what came of them",
    incremental: true
  }).pipe(Metric.withAttributes({ class: kind }))
const inFlight = Metric.gauge("cribwork_payments_commands_in_flight", {
  description: "Provider commands this process holds a lease on"
})

/** However soon a breaker says it may be asked again; and however late, since an operator may open it at any time. */
const askAgain = { minimum: Duration.millis(10), maximum: Duration.millis(500) }

/** Lets the store come back within a lease; past it another worker looks the payment up. */
const keepTrying = (lease: Duration.Duration) =>
  Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")]).pipe(
    Schedule.jittered,
    Schedule.upTo({ duration: Duration.times(lease, 0.5) })
  )

/** What the flow shows of itself. */
export class PspWorker extends Context.Service<PspWorker, { readonly inFlight: Effect.Effect<number> }>()(
  "cribwork/payments/PspWorker"
) {}

const make = Effect.gen(function* () {
  const outbox = yield* Outbox
  const charges = yield* Charges
  const keys = yield* IdempotencyStore
  const psp = yield* Psp
  const breaker = yield* Breaker
  const wake = yield* Wake
  const settings = yield* Settings
  const owner = yield* (yield* SecureRandom.SecureRandom).uuidV4()

  const calls = ProviderCalls.make(settings)
  yield* (yield* Breakers).declare(calls.dependency)
  const limits = { base: settings.pspBackoffBase, cap: settings.pspBackoffCap, attemptsMax: settings.pspAttemptsMax }
  const stubborn = keepTrying(settings.pspLease)

  // What is known is written down however late it is: only the provider's calls have the lease as their deadline.
  const conclude = Effect.fnUntraced(function* (lease: Lease, ack: Ack) {
    const done = yield* Effect.retry(outbox.ack(lease, ack), stubborn)
    yield* Metric.update(attempts(!done ? "stale" : ack._tag === "Park" ? "parked" : ack.class), 1)
    if (done && ack._tag === "Bury") {
      yield* Effect.logWarning("a charge needs review").pipe(
        Effect.annotateLogs({ charge: lease.charge.id, class: ack.class, why: ack.error, attempts: lease.attempts })
      )
    }
  }, Deadline.lifted)

  const settle = Effect.fnUntraced(function* (lease: Lease, found: Captured | Declined) {
    const verdict: Verdict =
      found._tag === "Captured"
        ? { _tag: "Captured", ref: found.ref }
        : { _tag: "Declined", code: found.code, message: found.message, ref: found.ref ?? null }
    const settled = yield* Effect.retry(charges.settle({ lease, verdict }), stubborn)
    yield* Metric.update(attempts(settled._tag === "Settled" ? classOf(found) : "stale"), 1)
    if (settled._tag === "Settled") yield* keys.remember(lease.tenant, lease.key, settled.told)
  }, Deadline.lifted)

  const send = Effect.fnUntraced(function* (lease: Lease) {
    return yield* settle(lease, yield* breaker.write(calls.capture, psp.capture(captureOf(lease))))
  })

  const lookUp = Effect.fnUntraced(function* (lease: Lease) {
    const found = yield* breaker.read(calls.lookup, psp.lookup(lease.pspKey))
    if (Option.isNone(found)) {
      const step = NextStep.notFound(lease)
      return yield* step._tag === "GiveUp" ? conclude(lease, step.ack) : send(lease)
    }
    const judged = judge(lease.charge, found.value)
    return yield* judged._tag === "Unknown" ? Effect.fail(new PspError({ reason: judged })) : settle(lease, judged)
  })

  const attempt = (
    lease: Lease
  ): Effect.Effect<void, PspError | BreakerError | ChargesUnavailable | OutboxUnavailable> => {
    const step = NextStep.begin(lease, settings.pspAttemptsMax)
    switch (step._tag) {
      case "Send":
        return send(lease)
      case "LookUp":
        return lookUp(lease)
      case "GiveUp":
        return conclude(lease, step.ack)
    }
  }

  const goOn = (lease: Lease, reason: Exclude<PspError["reason"], Declined>) =>
    Effect.flatMap(Random.next, (chance) => conclude(lease, NextStep.after(lease, reason, limits, chance)))

  /** Never fails: what cannot be concluded now is left to the end of its lease. Goes on in the trace of its request. */
  const work = (lease: Lease) =>
    attempt(lease).pipe(
      Deadline.within(settings.pspLease),
      Effect.catchTags({
        PspError: ({ reason }) => (reason._tag === "Declined" ? settle(lease, reason) : goOn(lease, reason)),
        BreakerError: ({ message, reason }) =>
          reason._tag === "CallTimedOut"
            ? goOn(lease, new Unknown({ evidence: message }))
            : Effect.flatMap(Random.next, (chance) =>
                conclude(lease, NextStep.parked(waitOf(reason), limits.base, chance))
              )
      }),
      Effect.catchCause((cause) =>
        Effect.logError("a command is left to the end of its lease", cause).pipe(
          Effect.annotateLogs({ charge: lease.charge.id })
        )
      ),
      (working) => (Option.isSome(lease.traceparent) ? continueFrom(lease.traceparent.value)(working) : working)
    )

  const running = yield* FiberSet.make<void>()
  const room = Latch.makeUnsafe(true)
  const stopping = yield* Ref.make(false)

  const round = Effect.gen(function* () {
    const permit = yield* breaker.permits(calls.dependency)
    if (!permit.admits) return yield* Effect.sleep(Duration.clamp(permit.retryAfter, askAgain))
    const free = settings.pspConcurrency - (yield* FiberSet.size(running))
    if (free <= 0) return yield* Effect.andThen(room.close, room.await)
    // A half-open breaker lets one call pass: what else we claimed would only be parked.
    const limit = permit.state === "closed" ? free : 1
    const leases = yield* outbox.claim(owner, limit)
    for (const lease of leases) {
      yield* FiberSet.run(running, Effect.ensuring(work(lease), room.open))
    }
    yield* Metric.update(inFlight, yield* FiberSet.size(running))
    if (leases.length < limit) yield* Effect.timeoutOption(wake.wait, settings.pspPoll)
  })

  const loop = round.pipe(
    Effect.catchCauseIf(
      (cause) => !Cause.hasInterruptsOnly(cause),
      (cause) => Effect.andThen(Effect.logError("the outbox was not reached", cause), Effect.sleep(settings.pspPoll))
    ),
    Effect.repeat({ while: () => Effect.map(Ref.get(stopping), (stop) => !stop) })
  )
  yield* Effect.forkScoped(Effect.interruptible(loop))
  // Runs before the loop is interrupted and the calls with it.
  yield* Effect.addFinalizer(() =>
    Ref.set(stopping, true).pipe(
      Effect.andThen(FiberSet.awaitEmpty(running)),
      Effect.timeout(Duration.sum(settings.pspTimeout, Duration.seconds(1))),
      Effect.ignore
    )
  )
  return PspWorker.of({ inFlight: FiberSet.size(running) })
})

export const layer = Layer.effect(PspWorker, make).pipe(Layer.provide(SecureRandom.layerWebCrypto))

/** The call did not run; when it makes sense to ask again. Whoever claims it then asks the breaker first. */
const waitOf = (refused: BreakerError["reason"]) =>
  refused._tag === "CircuitOpen" ? Duration.min(refused.retryAfter, askAgain.maximum) : Duration.zero

const captureOf = ({ pspKey, charge, traceparent }: Lease): Capture => ({
  pspKey,
  amount: charge.amount,
  currency: charge.currency,
  source: charge.source,
  description: charge.description ?? undefined,
  traceparent: Option.getOrUndefined(traceparent)
})
