/**
 * The state of one circuit and every step it may take. Pure: time and chance come in as numbers, the next
 * state goes out (only the tally of a closed circuit is written in place). Each admission carries the
 * generation it was let in under and every transition starts a new one, so an answer that arrives late is
 * recognised and changes nothing.
 *
 *     Closed -> Open         when a rule trips
 *     Open -> HalfOpen       when its window is over and somebody calls
 *     HalfOpen -> Open       when a probe fails
 *     HalfOpen -> Ramping    when enough probes succeeded (Closed, without a ramp)
 *     Ramping -> Open        when a rule trips
 *     Ramping -> Closed      when the ramp is over
 *
 * and from each of them to Forced and back, when an operator says so.
 */
import { Duration } from "effect"

import { type Rule, Tally } from "./Tally.ts"

/** All times in milliseconds of one clock that never steps back. */
export interface Policy {
  readonly rules: ReadonlyArray<Rule>
  /** First open window; it doubles with every failed probe. */
  readonly windowMillis: number
  /** Longest open window, jitter included. */
  readonly windowCapMillis: number
  /** How long a probe may take before it is given up and the next caller probes. */
  readonly leaseMillis: number
  /** Probes in a row that must succeed. */
  readonly probes: number
  readonly ramp: Ramp | undefined
}

export interface Ramp {
  readonly overMillis: number
  /** Calls a second that are let through whatever their share is. */
  readonly floor: number
}

/** Calls run. `backoff` outlives the close, so that a dependency that flaps does not start over each time. */
export interface Closed {
  readonly _tag: "Closed"
  readonly generation: number
  readonly backoff: number
  /** From here on the close counts as stable and `backoff` as 0. */
  readonly stableAt: number
  readonly tally: Tally
}

/** Calls are refused until `until`; the first caller after it becomes the probe, without a timer. */
export interface Open {
  readonly _tag: "Open"
  readonly generation: number
  readonly backoff: number
  readonly windowMillis: number
  readonly until: number
}

/** One probe may run. `leaseEnd` is undefined when nobody has the slot. */
export interface HalfOpen {
  readonly _tag: "HalfOpen"
  readonly generation: number
  readonly backoff: number
  readonly windowMillis: number
  readonly leaseEnd: number | undefined
  /** Probes in a row that succeeded. */
  readonly successes: number
}

/** Calls come back little by little, counted out evenly: `credit` is what the calls so far left of the share. */
export interface Ramping {
  readonly _tag: "Ramping"
  readonly generation: number
  readonly backoff: number
  readonly windowMillis: number
  readonly startedAt: number
  readonly credit: number
  /** When the floor lets the next one through. */
  readonly floorAt: number
  readonly tally: Tally
}

/** As an operator says, until `until`; what calls show meanwhile changes nothing. */
export interface Forced {
  readonly _tag: "Forced"
  readonly generation: number
  readonly backoff: number
  readonly to: "open" | "closed"
  readonly until: number
}

export type Circuit = Closed | Open | HalfOpen | Ramping | Forced

export type Verdict =
  | { readonly _tag: "Admitted"; readonly generation: number; readonly circuit: Circuit }
  | { readonly _tag: "Refused"; readonly retryAfterMillis: number; readonly circuit: Circuit }

/** What a call showed about its dependency. */
export type Outcome = Success | Failure | Ignored

/** It works: it answered, be it to say that the caller is wrong. */
export interface Success {
  readonly _tag: "Success"
}

/** It does not, and perhaps asks to be left alone for a while. */
export interface Failure {
  readonly _tag: "Failure"
  readonly retryAfter?: Duration.Duration | undefined
}

/** Nobody can tell from this. */
export interface Ignored {
  readonly _tag: "Ignored"
}

/** What a settled call comes to: the next state, and why in words if it is another one. */
export interface Settled {
  readonly circuit: Circuit
  readonly why: string
}

/** Draws a window after so many failed probes, of which the dependency asked for at least `asked`. */
export type Draw = (backoff: number, askedMillis: number) => number

export const initial = (policy: Policy): Closed => closed(policy, 0, 0, Number.NEGATIVE_INFINITY)

const closed = ({ rules }: Policy, generation: number, backoff: number, stableAt: number): Closed => ({
  _tag: "Closed",
  generation,
  backoff,
  stableAt,
  tally: new Tally(rules)
})

/** What time alone has done: a ramp is over, a forced state has ended. Everything else waits for a call. */
export const at = (circuit: Circuit, policy: Policy, now: number): Circuit => {
  if (circuit._tag === "Forced") return now < circuit.until ? circuit : released(circuit, policy, now)
  if (circuit._tag !== "Ramping") return circuit
  const { backoff, generation, startedAt, windowMillis } = circuit
  const over = startedAt + (policy.ramp?.overMillis ?? 0)
  return now < over ? circuit : closed(policy, generation + 1, backoff, over + windowMillis)
}

/** May a call run now? */
export const admit = (before: Circuit, policy: Policy, now: number): Verdict => {
  const circuit = at(before, policy, now)
  switch (circuit._tag) {
    case "Closed":
      return admitted(circuit)
    case "Open":
      return now < circuit.until ? refused(circuit, circuit.until - now) : probe(circuit, policy, now)
    case "HalfOpen":
      return circuit.leaseEnd !== undefined && now < circuit.leaseEnd
        ? refused(circuit, Math.min(circuit.leaseEnd - now, policy.windowMillis))
        : probe(circuit, policy, now)
    case "Ramping":
      return countedOut(circuit, policy, now)
    case "Forced":
      return circuit.to === "closed" ? admitted(circuit) : refused(circuit, circuit.until - now)
  }
}

const admitted = (circuit: Circuit): Verdict => ({ _tag: "Admitted", generation: circuit.generation, circuit })

const refused = (circuit: Circuit, millis: number): Verdict => ({
  _tag: "Refused",
  retryAfterMillis: Math.ceil(millis),
  circuit
})

/** The next generation's only call; whoever held the slot before is from now on late. */
const probe = (from: Open | HalfOpen, policy: Policy, now: number): Verdict => {
  const { backoff, windowMillis } = from
  return admitted({
    _tag: "HalfOpen",
    generation: from.generation + 1,
    backoff,
    windowMillis,
    leaseEnd: now + policy.leaseMillis,
    // A probe that hung is no success in a row.
    successes: from._tag === "HalfOpen" && from.leaseEnd === undefined ? from.successes : 0
  })
}

/** Steps of 1, 2, 4 … 64 %, and then all. */
const rampSteps = 7

/** Which part of the calls a circuit lets through, in [0, 1]. */
export const shareOf = (circuit: Circuit, policy: Policy, now: number): number => {
  if (circuit._tag === "Closed") return 1
  if (circuit._tag === "Forced") return circuit.to === "closed" ? 1 : 0
  if (circuit._tag !== "Ramping" || policy.ramp === undefined) return 0
  const step = Math.floor(((now - circuit.startedAt) * rampSteps) / policy.ramp.overMillis)
  return Math.min(1, 2 ** step / 100)
}

const countedOut = (circuit: Ramping, policy: Policy, now: number): Verdict => {
  const credit = circuit.credit + shareOf(circuit, policy, now)
  if (credit >= 1) return admitted({ ...circuit, credit: credit - 1 })
  const floor = policy.ramp?.floor ?? 0
  if (now >= circuit.floorAt) return admitted({ ...circuit, credit, floorAt: now + 1000 / floor })
  return refused({ ...circuit, credit }, circuit.floorAt - now)
}

/**
 * Takes the outcome of a call admitted under `generation`. `slow` is a success that took too long. `share` is how
 * much of the usual evidence is enough, less than 1 where others have seen it open.
 */
export const settle = (
  circuit: Circuit,
  policy: Policy,
  call: { readonly generation: number; readonly outcome: Outcome; readonly slow: boolean },
  now: number,
  draw: Draw,
  share = 1
): Settled => {
  const same = { circuit, why: "" }
  const { generation, outcome, slow } = call
  if (generation !== circuit.generation) return same
  switch (circuit._tag) {
    case "Open": // Nothing is admitted under an open generation.
    case "Forced":
      return same
    case "Closed":
    case "Ramping": {
      if (outcome._tag === "Ignored") return same
      const mark = outcome._tag === "Failure" ? "failure" : slow ? "slow" : "success"
      const why = circuit.tally.record(mark, now, share)
      if (why === undefined) return same
      const stable = circuit._tag === "Closed" && now >= circuit.stableAt
      return { circuit: open(circuit, stable ? 0 : circuit.backoff + 1, outcome, now, draw), why }
    }
    case "HalfOpen":
      if (outcome._tag === "Ignored") return { circuit: { ...circuit, leaseEnd: undefined }, why: "" }
      if (outcome._tag === "Failure") {
        return { circuit: open(circuit, circuit.backoff + 1, outcome, now, draw), why: "the probe failed" }
      }
      return succeeded(circuit, policy, now)
  }
}

const succeeded = (circuit: HalfOpen, policy: Policy, now: number): Settled => {
  const { backoff, generation, windowMillis } = circuit
  const successes = circuit.successes + 1
  if (successes < policy.probes) return { circuit: { ...circuit, leaseEnd: undefined, successes }, why: "" }
  const why = successes === 1 ? "the probe succeeded" : `${successes} probes succeeded`
  if (policy.ramp === undefined) {
    return { circuit: closed(policy, generation + 1, backoff, now + windowMillis), why }
  }
  return {
    circuit: {
      _tag: "Ramping",
      generation: generation + 1,
      backoff,
      windowMillis,
      startedAt: now,
      credit: 0,
      floorAt: now,
      tally: new Tally(policy.rules)
    },
    why
  }
}

const open = (from: Circuit, backoff: number, outcome: Outcome, now: number, draw: Draw): Open => {
  const asked = outcome._tag === "Failure" ? outcome.retryAfter : undefined
  const windowMillis = draw(backoff, asked === undefined ? 0 : Duration.toMillis(asked))
  return { _tag: "Open", generation: from.generation + 1, backoff, windowMillis, until: now + windowMillis }
}

/** Failed probes in a row that the next window grows by: none once a close has lasted. */
export const backoffAt = (circuit: Circuit, now: number): number =>
  circuit._tag === "Closed" && now >= circuit.stableAt ? 0 : circuit.backoff

/** An operator's order: from the next call on. */
export const force = (circuit: Circuit, to: Forced["to"], now: number, until: number): Forced => ({
  _tag: "Forced",
  generation: circuit.generation + 1,
  backoff: backoffAt(circuit, now),
  to,
  until
})

/** Given back to itself: what was forced open is probed first, and has learned nothing; what was forced closed starts afresh. */
export const released = (circuit: Forced, policy: Policy, now: number): Circuit =>
  circuit.to === "closed"
    ? closed(policy, circuit.generation + 1, 0, Number.NEGATIVE_INFINITY)
    : {
        _tag: "Open",
        generation: circuit.generation + 1,
        backoff: circuit.backoff,
        windowMillis: policy.windowMillis,
        until: now
      }
