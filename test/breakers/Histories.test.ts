/**
 * The breakers of a process do what the pure circuit does, step for step, in any history of calls, answers,
 * interruptions, pauses, orders and hints: who runs, who is refused and for how long, whose time is over, what
 * is told. The model below holds no effect, no fiber and no timer.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, DateTime, Deferred, Duration, Effect, Exit, Fiber, Option, Schedule, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"

import { Breaker } from "../../src/domain/breakers/Breaker.ts"
import type { BreakerError, Permit } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import * as Circuit from "../../src/domain/breakers/Circuit.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as Terms from "../../src/domain/breakers/Terms.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const defaults = { failuresMax: 5, window: Duration.seconds(1), windowCap: Duration.seconds(8), fleet: 1 }

/** Without chance, so that the model needs none. */
const growing = Schedule.min([Schedule.exponential("1 second", 2), Schedule.spaced("8 seconds")])
const draw: Circuit.Draw = (backoff) => Math.min(8000, 1000 * 2 ** backoff)

const often = <A>(value: A, times: number): ReadonlyArray<A> => Array.from({ length: times }, () => value)
const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const policies: ReadonlyArray<Dependency.Policy> = [
  { timeout: Duration.seconds(2), trips: [{ _tag: "Consecutive", failures: 2 }], ramp: "none", probes: 2 },
  {
    timeout: Duration.seconds(3),
    trips: [{ _tag: "CountWindow", calls: 5, callsMin: 3, failureRate: 0.6 }],
    ramp: { over: Duration.seconds(4), floor: 1 },
    inFlightMax: 4
  },
  {
    timeout: Duration.seconds(2),
    trips: [
      { _tag: "Consecutive", failures: 4 },
      { _tag: "TimeWindow", over: Duration.seconds(6), callsMin: 3, failureRate: 0.7 }
    ],
    ramp: { over: Duration.seconds(3), floor: 3 }
  },
  {
    timeout: Duration.seconds(10),
    slowAfter: Duration.millis(300),
    trips: [{ _tag: "TimeWindow", over: Duration.seconds(10), callsMin: 2, slowRate: 0.5 }],
    ramp: "none"
  }
]

const event = Schema.Struct({
  kind: Schema.Literals([
    ...often("call", 8),
    ...often("answer", 8),
    ...often("interrupt", 2),
    ...often("pause", 4),
    "order",
    "hint"
  ]),
  outcome: Schema.Literals(["Failure", "Failure", "Success", "Success", "Ignored"]),
  /** Mostly the newest call, so that probes come to an end. */
  which: Schema.Literals([0, 0, 0, 1, 2, 5]),
  millis: between(0, 3000)
})
type Event = typeof event.Type
const histories = {
  policy: between(0, policies.length - 1),
  history: Schema.Array(event).check(Schema.isMinLength(80), Schema.isMaxLength(120))
}

const states = { Closed: "closed", Open: "open", HalfOpen: "half-open", Ramping: "ramping" } as const
const stateOf = (circuit: Circuit.Circuit) =>
  circuit._tag === "Forced" ? (`forced-${circuit.to}` as const) : states[circuit._tag]

interface Running {
  readonly generation: number
  readonly startedAt: number
}

class Model {
  readonly terms: Terms.Terms
  readonly told: Array<string> = []
  readonly running = new Map<number, Running>()
  now = 0
  #circuit: Circuit.Circuit
  #order: { readonly to: "open" | "closed"; readonly until: number } | undefined
  #hintedUntil = 0

  constructor(policy: Dependency.Policy) {
    this.terms = Terms.resolve(defaults, policy)
    this.#circuit = Circuit.initial(this.terms)
  }

  /** "admitted", or the reason of a refusal in words. */
  call(id: number): string {
    if (this.running.size >= this.terms.inFlightMax) return "BulkheadFull"
    const verdict = Circuit.admit(this.#circuit, this.terms, this.now)
    this.#move(verdict.circuit)
    if (verdict._tag === "Refused") return `CircuitOpen ${stateOf(verdict.circuit)} ${verdict.retryAfterMillis}`
    this.running.set(id, { generation: verdict.generation, startedAt: this.now })
    return "admitted"
  }

  settle(id: number, tag: Circuit.Outcome["_tag"]): void {
    const { generation, startedAt } = this.running.get(id) ?? { generation: -1, startedAt: 0 }
    this.running.delete(id)
    const slow = tag === "Success" && this.now - startedAt >= this.terms.slowAfterMillis
    const call = { generation, outcome: { _tag: tag }, slow }
    const share = this.now < this.#hintedUntil ? 0.2 : 1
    this.#move(Circuit.settle(this.#circuit, this.terms, call, this.now, draw, share).circuit)
  }

  /** The next instant at which a call's time is over, and whose it is. */
  get due(): { readonly id: number; readonly at: number } | undefined {
    const [first] = this.running
    return first && { id: first[0], at: first[1].startedAt + this.terms.timeoutMillis }
  }

  order(to: "open" | "closed" | "auto", lasting: number): void {
    const until = this.now + lasting
    if (to !== "auto" && lasting > 0) {
      if (this.#circuit._tag === "Forced" && this.#order?.to === to && this.#order.until === until) return
      this.#move(Circuit.force(this.#circuit, to, this.now, until))
      this.#order = { to, until }
    } else if (this.#circuit._tag === "Forced") {
      this.#move(Circuit.released(this.#circuit, this.terms, this.now))
    }
  }

  hint(lasting: number): void {
    this.#hintedUntil = Math.max(this.#hintedUntil, this.now + lasting)
  }

  get permit(): Permit {
    const circuit = Circuit.at(this.#circuit, this.terms, this.now)
    const verdict = Circuit.admit(circuit, this.terms, this.now)
    return {
      state: stateOf(circuit),
      admits: verdict._tag === "Admitted",
      retryAfter: Duration.millis(verdict._tag === "Admitted" ? 0 : verdict.retryAfterMillis)
    }
  }

  #move(to: Circuit.Circuit): void {
    const [was, is] = [stateOf(this.#circuit), stateOf(to)]
    this.#circuit = to
    if (was !== is) this.told.push(`${was} to ${is}`)
  }
}

/** What a caller was told. */
const words = (exit: Exit.Exit<void, string | BreakerError>): string =>
  Exit.isSuccess(exit)
    ? "Success"
    : Option.match(Exit.findErrorOption(exit), {
        onNone: () => "interrupted",
        onSome: (error) => {
          if (typeof error === "string") return error
          const { reason } = error
          return reason._tag === "CircuitOpen"
            ? `CircuitOpen ${reason.state} ${Duration.toMillis(reason.retryAfter)}`
            : reason._tag
        }
      })

/** The answer says what it shows. */
const classify: Dependency.Classify<string> = (exit) => {
  const said = Exit.isSuccess(exit) ? "Success" : Option.getOrElse(Exit.findErrorOption(exit), () => "Ignored")
  return { _tag: said === "Success" || said === "Failure" ? said : "Ignored" }
}

describe("the breakers of a process and the pure circuit", () => {
  it.effect.prop(
    "do the same, step for step, in any history",
    histories,
    ({ history, policy: chosen }) =>
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const breakers = yield* Breakers
        const policy = policies[chosen] ?? { timeout: Duration.seconds(1) }
        const dependency = Dependency.make("one", "test", { ...policy, schedule: growing })
        const ask = Dependency.write(dependency, "ask", { classify })
        const told: Array<string> = []
        yield* Effect.forkChild(
          Stream.runForEach(breakers.changes, ({ from, to }) => Effect.sync(() => told.push(`${from} to ${to}`))),
          { startImmediately: true }
        )
        yield* breakers.declare(dependency)

        const model = new Model(dependency.policy)
        const calls = new Map<number, { fiber: Fiber.Fiber<string>; gate: Deferred.Deferred<void, string> }>()
        const ended = Effect.fnUntraced(function* (id: number, expected: string) {
          const call = calls.get(id)
          assert.isDefined(call)
          calls.delete(id)
          const exit = yield* Fiber.await(call.fiber)
          assert.strictEqual(Exit.isSuccess(exit) ? exit.value : "interrupted", expected)
        })
        const pass = Effect.fnUntraced(function* (millis: number) {
          const end = model.now + millis
          for (let { due } = model; due !== undefined && due.at <= end; { due } = model) {
            yield* TestClock.adjust(Duration.millis(due.at - model.now))
            model.now = due.at
            model.settle(due.id, "Failure")
            yield* ended(due.id, "CallTimedOut")
          }
          yield* TestClock.adjust(Duration.millis(end - model.now))
          model.now = end
        })
        const happen = Effect.fnUntraced(function* ({ kind, millis, outcome, which }: Event, id: number) {
          const picked = [...calls.keys()].at(-1 - which)
          switch (kind) {
            case "pause":
              return yield* pass(millis)
            case "order": {
              const to = which === 0 ? "auto" : which === 1 ? "open" : "closed"
              const until = DateTime.makeUnsafe((yield* Clock.currentTimeMillis) + millis)
              yield* breakers.force("one", to === "auto" ? undefined : { to, until })
              return model.order(to, millis)
            }
            case "hint":
              yield* breakers.hint("one", Duration.millis(millis))
              return model.hint(millis)
            case "call": {
              const gate = yield* Deferred.make<void, string>()
              const call = Effect.map(Effect.exit(breaker.write(ask, Deferred.await(gate))), words)
              calls.set(id, { gate, fiber: yield* Effect.forkChild(call, { startImmediately: true }) })
              const expected = model.call(id)
              return expected === "admitted" ? undefined : yield* ended(id, expected)
            }
            case "answer":
            case "interrupt":
          }
          const call = picked === undefined ? undefined : calls.get(picked)
          if (picked === undefined || call === undefined) return undefined
          if (kind === "interrupt") {
            yield* Fiber.interrupt(call.fiber)
            model.settle(picked, "Ignored")
            return yield* ended(picked, "interrupted")
          }
          yield* outcome === "Success" ? Deferred.succeed(call.gate, undefined) : Deferred.fail(call.gate, outcome)
          yield* ended(picked, outcome)
          return model.settle(picked, outcome)
        })

        for (const [id, event] of history.entries()) {
          yield* happen(event, id)
          assert.deepStrictEqual(yield* breaker.permits(dependency), model.permit)
        }
        yield* pass(10_000)
        yield* Effect.yieldNow
        assert.deepStrictEqual(told, model.told)
        assert.strictEqual((yield* breakers.snapshots)[0]?.inFlight, 0)
      }).pipe(Effect.scoped, Effect.provide(MemoryBreakers.layerWith(defaults))),
    { arbitrary: { runs: 150 } }
  )
})
