/**
 * One dependency's breaker and what changes about it: its circuit, its calls in flight, its orders. Nothing in
 * here is an effect: each step is taken in the turn that decides it, since fibers interleave between effects.
 */
import { Clock, Context, DateTime, Duration, Effect, Exit, Option, Random, Tracer } from "effect"
import type { Fiber } from "effect"

import type { Permit, State } from "../../domain/breakers/Breaker.ts"
import type { Force, Snapshot, Transition } from "../../domain/breakers/Breakers.ts"
import * as Circuit from "../../domain/breakers/Circuit.ts"
import type { Dependency } from "../../domain/breakers/Dependency.ts"
import * as OpenWindow from "../../domain/breakers/OpenWindow.ts"
import type { Terms } from "../../domain/breakers/Terms.ts"
import { type Counts, Signals } from "./Signals.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** How much of the usual evidence opens a breaker that has opened elsewhere. */
const hintedShare = 0.2

/** Dependencies that are known to lie below one. */
const belowMax = 64

const nothing: ReadonlySet<string> = new Set()

/** Under what a call was let in. */
export interface Admission {
  readonly generation: number
  readonly startedMillis: number
}

export interface Refusal {
  readonly state: Exclude<State, "closed" | "forced-closed">
  readonly retryAfterMillis: number
}

export class Gate {
  readonly dependency: Dependency
  readonly terms: Terms
  readonly signals: Signals
  readonly #clock: Clock.Clock
  readonly #told: (transition: Transition, fiber: AnyFiber) => void
  #circuit: Circuit.Circuit
  #sinceMillis: number
  #force: Force | undefined
  #hintedUntil = Number.NEGATIVE_INFINITY
  /** When it stopped being closed, until it is closed again. */
  #openedAt: number | undefined
  #inFlight = 0
  /** Called since `isForgettable` last asked. */
  #called = false
  #below: Set<string> | undefined

  constructor(
    dependency: Dependency,
    terms: Terms,
    counts: Counts,
    told: (transition: Transition, fiber: AnyFiber) => void
  ) {
    this.dependency = dependency
    this.terms = terms
    this.#clock = Context.get(counts.context, Clock.Clock)
    this.signals = new Signals(dependency, counts)
    this.#told = told
    this.#circuit = Circuit.initial(terms)
    this.#sinceMillis = this.#now()
  }

  /** Dependencies that calls of this one were seen to fail through. */
  get below(): ReadonlySet<string> {
    return this.#below ?? nothing
  }

  note(path: ReadonlyArray<string>): void {
    for (const name of path) {
      this.#below ??= new Set()
      if (this.#below.size < belowMax && name !== this.dependency.name) this.#below.add(name)
    }
  }

  get order(): Force | undefined {
    return this.#force
  }

  get isFull(): boolean {
    return this.#inFlight >= this.terms.inFlightMax
  }

  /** Closed, and not called since this was last asked. */
  isForgettable(): boolean {
    const called = this.#called || this.#inFlight > 0
    this.#called = false
    return !called && this.#circuit._tag === "Closed"
  }

  /** Lets a call in, which must be settled once, or says when to come back. */
  admit(fiber: AnyFiber): Admission | Refusal {
    const circuit = this.#circuit
    this.#called = true
    if (circuit._tag === "Closed") {
      this.#inFlight++
      // Half of what the way of nearly every call costs is looking at the time.
      const startedMillis = this.terms.slowAfterMillis === Number.POSITIVE_INFINITY ? 0 : this.#now()
      return { generation: circuit.generation, startedMillis }
    }
    const now = this.#now()
    const verdict = Circuit.admit(circuit, this.terms, now)
    this.#move(verdict.circuit, "the time has come", now, fiber)
    if (verdict._tag === "Admitted") {
      this.#inFlight++
      return { generation: verdict.generation, startedMillis: now }
    }
    return { state: refusing(verdict.circuit), retryAfterMillis: verdict.retryAfterMillis }
  }

  /** A call has come to an end, or to its timeout. */
  settle({ generation, startedMillis }: Admission, outcome: Circuit.Outcome, fiber: AnyFiber): void {
    this.#inFlight--
    const circuit = this.#circuit
    if (generation !== circuit.generation) return this.signals.came("stale")
    const now = this.#now()
    const slow = outcome._tag === "Success" && now - startedMillis >= this.terms.slowAfterMillis
    this.signals.came(slow ? "slow" : words[outcome._tag])
    if (circuit._tag === "Closed" && outcome._tag === "Success" && !slow) {
      circuit.tally.record("success", now, 1) // Nothing trips on good news.
      return
    }
    if (circuit._tag === "HalfOpen") this.signals.probed(words[outcome._tag])
    const draw = (backoff: number, asked: number) => this.#draw(backoff, asked, fiber)
    const share = now < this.#hintedUntil ? hintedShare : 1
    const settled = Circuit.settle(circuit, this.terms, { generation, outcome, slow }, now, draw, share)
    this.#move(settled.circuit, settled.why, now, fiber)
  }

  permit(): Permit {
    const now = this.#now()
    const circuit = Circuit.at(this.#circuit, this.terms, now)
    const verdict = Circuit.admit(circuit, this.terms, now)
    const refused = verdict._tag === "Refused"
    return {
      state: stateOf(circuit),
      admits: !refused,
      retryAfter: refused ? Duration.millis(verdict.retryAfterMillis) : Duration.zero
    }
  }

  snapshot(fiber: AnyFiber): Snapshot {
    const now = this.#now()
    this.#move(Circuit.at(this.#circuit, this.terms, now), "the time has come", now, fiber)
    const circuit = this.#circuit
    const tally = circuit._tag === "Closed" || circuit._tag === "Ramping" ? circuit.tally : undefined
    const rates = tally?.rates(now)
    return {
      dependency: this.dependency.name,
      kind: this.dependency.kind,
      state: stateOf(circuit),
      since: Duration.millis(now - this.#sinceMillis),
      retryAfter: this.permit().retryAfter,
      inFlight: this.#inFlight,
      failuresInRow: tally?.failuresInRow ?? 0,
      failureRate: rates?.failureRate,
      slowRate: rates?.slowRate,
      backoff: Circuit.backoffAt(circuit, now),
      admitted: Circuit.shareOf(circuit, this.terms, now),
      force: this.#force
    }
  }

  /** Undefined gives it back to itself. The same order again changes nothing. */
  force(force: Force | undefined, fiber: AnyFiber): void {
    const now = this.#now()
    const before = this.#circuit
    const left = force === undefined ? 0 : DateTime.toEpochMillis(force.until) - this.#clock.currentTimeMillisUnsafe()
    if (force === undefined || left <= 0) {
      this.#force = undefined
      if (before._tag === "Forced")
        this.#move(Circuit.released(before, this.terms, now), "no longer forced", now, fiber)
      return
    }
    const known = this.#force
    if (known?.to === force.to && DateTime.Equivalence(known.until, force.until) && before._tag === "Forced") return
    this.#force = force
    this.#move(Circuit.force(before, force.to, now, now + left), "forced by an operator", now, fiber)
  }

  hint(lasting: Duration.Duration): void {
    this.#hintedUntil = Math.max(this.#hintedUntil, this.#now() + Duration.toMillis(lasting))
  }

  /** Tells of a step from one state to another; a step within a state is only taken. */
  #move(to: Circuit.Circuit, why: string, now: number, fiber: AnyFiber): void {
    const before = this.#circuit
    this.#circuit = to
    const [was, is] = [stateOf(before), stateOf(to)]
    if (to._tag !== "Forced") this.#force = undefined
    if (was === is) return
    this.#sinceMillis = now
    if (is === "open") this.#openedAt ??= now
    if (is === "closed" && this.#openedAt !== undefined) {
      this.signals.recovered((now - this.#openedAt) / 1000)
      this.#openedAt = undefined
    }
    this.signals.moved(was, is, this.#inFlight)
    const at = DateTime.makeUnsafe(this.#clock.currentTimeMillisUnsafe())
    noteOnSpan(fiber, `breaker.${is}`, { dependency: this.dependency.name, from: was, why })
    this.#told({ dependency: this.dependency.name, from: was, to: is, at, why }, fiber)
  }

  /** Steps of the wall clock neither shorten nor lengthen a window. */
  #now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1_000_000
  }

  #draw(backoff: number, asked: number, fiber: AnyFiber): number {
    const chance = fiber.getRef(Random.Random).nextDoubleUnsafe()
    const schedule = this.terms.schedule ?? OpenWindow.doubling(this.terms)
    const drawn = Effect.runSyncExitWith(fiber.context)(OpenWindow.delayOf(schedule, backoff))
    // A schedule that waits or dies was refused when the dependency was declared; the bounds hold regardless.
    return OpenWindow.held(Exit.isSuccess(drawn) ? drawn.value : 0, asked, this.terms, chance)
  }
}

const words = { Success: "success", Failure: "failure", Ignored: "ignored" } as const

const states = { Closed: "closed", Open: "open", HalfOpen: "half-open", Ramping: "ramping" } as const

const stateOf = (circuit: Circuit.Circuit): State =>
  circuit._tag === "Forced" ? `forced-${circuit.to}` : states[circuit._tag]

/** A circuit that refuses is neither closed nor forced so. */
const refusing = (circuit: Circuit.Circuit): Refusal["state"] => {
  const state = stateOf(circuit)
  return state === "closed" || state === "forced-closed" ? "open" : state
}

/** Only what is rare is worth an event on a span. */
export const noteOnSpan = (fiber: AnyFiber, name: string, attributes: Record<string, unknown>): void => {
  const span = Option.getOrUndefined(Context.getOption(fiber.context, Tracer.ParentSpan))
  if (span?._tag !== "Span") return
  span.event(name, fiber.getRef(Clock.Clock).currentTimeNanosUnsafe(), attributes)
}
