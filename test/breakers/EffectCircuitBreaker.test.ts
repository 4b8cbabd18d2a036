/**
 * Where effect's own circuit breaker and ours promise the same, they do the same: consecutive trips, windows that
 * grow and start over after a close that lasted, one probe, fenced generations, interruption that shows nothing.
 * Ours is set to what theirs has: nobody ends a call, no jitter, no ramp.
 *
 * Two things are kept out, since they differ: a rate of theirs may trip on a success, and of a call that was let in
 * before a close had lasted and failed after it, theirs goes by the first of the two instants, ours by the second.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Schedule, Schema } from "effect"
import { CircuitBreaker } from "effect/persistence"
import { TestClock } from "effect/testing"

import { Breaker, type BreakerError } from "../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const failures = 3
const window = Duration.seconds(1)
const windowCap = Duration.seconds(20)
const growing = Schedule.min([Schedule.exponential(window, 2), Schedule.spaced(windowCap)])

type Failed = string | BreakerError | CircuitBreaker.CircuitBreakerError

interface Subject {
  readonly call: (effect: Effect.Effect<void, string>) => Effect.Effect<void, Failed>
  /** When the next call would run, zero for at once; and the state, where it is not about to change. */
  readonly seen: Effect.Effect<string>
}

const ours = (schedule: Schedule.Schedule<unknown>): Effect.Effect<Subject, never, Breaker> =>
  Effect.map(Breaker, (breaker) => {
    const dependency = Dependency.make("dependency", "test", {
      timeout: Duration.days(1),
      endedBy: "client",
      trips: [{ _tag: "Consecutive", failures }],
      window,
      windowCap,
      schedule,
      fleet: 1,
      ramp: "none"
    })
    const ask = Dependency.write<string>(dependency, "ask", {
      classify: (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
    })
    return {
      call: (effect) => breaker.write(ask, effect),
      seen: Effect.map(breaker.permits(dependency), ({ admits, retryAfter, state }) =>
        state === "open" ? `open ${Duration.toMillis(retryAfter)}` : admits ? `${state} admits` : state
      )
    }
  })

const theirs: Effect.Effect<Subject, never, CircuitBreaker.CircuitBreaker> = Effect.map(
  CircuitBreaker.CircuitBreaker,
  (breaker) => ({
    call: (effect) => breaker.execute(effect, { key: "dependency" }),
    seen: Effect.orDie(
      Effect.map(breaker.state("dependency"), (state) => {
        switch (state._tag) {
          case "Closed":
            return "closed admits"
          case "Open":
            return `open ${Duration.toMillis(state.retryAfter)}`
          case "HalfOpen":
            return state.probing ? "half-open" : "half-open admits"
        }
      })
    )
  })
)

const both = (schedule: Schedule.Schedule<unknown>) =>
  Layer.merge(
    MemoryBreakers.layerWith({ failuresMax: failures, window, windowCap, fleet: 1 }),
    CircuitBreaker.layer({
      tripPolicy: CircuitBreaker.consecutive(failures),
      openDuration: schedule
    }).pipe(Layer.provide(CircuitBreaker.layerStoreMemory({ idleTimeToLive: "30 days" })))
  )

const event = Schema.Struct({
  kind: Schema.Literals(["call", "call", "call", "answer", "answer", "interrupt", "pause"]),
  /** More often than not, so that a history has several openings. */
  fails: Schema.Literals([true, true, true, false]),
  /** Ends in the turn in which it began. */
  atOnce: Schema.Boolean,
  which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 })),
  pauseMillis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6000 }))
})
const history = Schema.Array(event).check(Schema.isMinLength(40), Schema.isMaxLength(120))

/** Everything that shows from outside, after each event. */
const lived = (subject: Subject, events: typeof history.Type) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    let running: Array<{
      readonly fiber: Fiber.Fiber<string>
      readonly gate: Deferred.Deferred<void, string>
    }> = []
    for (const { atOnce, fails, kind, pauseMillis, which } of events) {
      const picked = running[which % Math.max(1, running.length)]
      if (kind === "pause") yield* TestClock.adjust(Duration.millis(pauseMillis))
      else if (kind === "call") {
        const gate = yield* Deferred.make<void, string>()
        if (atOnce) yield* answer(gate, fails)
        const call = subject.call(Deferred.await(gate))
        const fiber = yield* Effect.forkChild(Effect.map(Effect.exit(call), words), { startImmediately: true })
        running.push({ fiber, gate })
      } else if (picked !== undefined) {
        if (kind === "interrupt") yield* Fiber.interrupt(picked.fiber)
        else yield* answer(picked.gate, fails)
      }
      yield* Effect.yieldNow
      for (const { fiber } of running) {
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) seen.push(Exit.isSuccess(exit) ? exit.value : "interrupted")
      }
      running = running.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
      seen.push(yield* subject.seen)
    }
    for (const { fiber } of running) yield* Fiber.interrupt(fiber)
    return seen
  })

const answer = (gate: Deferred.Deferred<void, string>, fails: boolean) =>
  fails ? Deferred.fail(gate, "down") : Deferred.succeed(gate, undefined)

const words = (exit: Exit.Exit<void, Failed>): string =>
  Exit.isSuccess(exit)
    ? "answered"
    : Option.match(Exit.findErrorOption(exit), {
        onNone: () => "interrupted",
        onSome: (error) => (typeof error === "string" ? "failed" : "refused")
      })

const same = (schedule: Schedule.Schedule<unknown>) => (events: typeof history.Type) =>
  Effect.gen(function* () {
    const [one, other] = [yield* ours(schedule), yield* theirs]
    assert.deepStrictEqual(yield* lived(one, events), yield* lived(other, events))
  }).pipe(Effect.provide(both(schedule)))

describe("effect's circuit breaker and ours", () => {
  it.effect.prop(
    "do the same in any history, with windows of one length",
    { events: history },
    ({ events }) => same(Schedule.spaced(window))(events),
    { arbitrary: { runs: 50 } }
  )

  it.effect.prop(
    "do the same with windows that grow, when no call outlives its turn",
    { events: history },
    ({ events }) => same(growing)(events.map((one) => ({ ...one, atOnce: true }))),
    { arbitrary: { runs: 50 } }
  )
})
