/**
 * The state of one circuit and every step it may take. Pure: time and chance come in as numbers, the next
 * state goes out. Each admission carries the generation it was let in under and every transition starts a
 * new one, so an answer that arrives late is recognised and changes nothing.
 */
import { Duration } from "effect"

/** All times in milliseconds. */
export interface Policy {
  /** Failures in a row, in order of completion, that open the circuit. */
  readonly failuresMax: number
  /** First open window; it doubles with every failed probe. */
  readonly windowMillis: number
  /** Longest open window, jitter included. */
  readonly windowCapMillis: number
  /** How long a probe may take before it is given up and the next caller probes. */
  readonly leaseMillis: number
}

/** Calls run. `backoff` outlives the close, so that a dependency that flaps does not start over each time. */
export interface Closed {
  readonly _tag: "Closed"
  readonly generation: number
  readonly failures: number
  readonly backoff: number
  /** From here on the close counts as stable and `backoff` as 0. */
  readonly stableAt: number
}

/** Calls are refused until `until`; the first caller after it becomes the probe, without a timer. */
export interface Open {
  readonly _tag: "Open"
  readonly generation: number
  readonly backoff: number
  readonly windowMillis: number
  readonly until: number
}

/** One probe may run. `leaseEnd` is undefined when its caller was interrupted and the slot is free again. */
export interface HalfOpen {
  readonly _tag: "HalfOpen"
  readonly generation: number
  readonly backoff: number
  readonly windowMillis: number
  readonly leaseEnd: number | undefined
}

export type Circuit = Closed | Open | HalfOpen

export type Verdict =
  | { readonly _tag: "Admitted"; readonly generation: number; readonly circuit: Circuit }
  | { readonly _tag: "Refused"; readonly retryAfterMillis: number }

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

export const initial: Circuit = { _tag: "Closed", generation: 0, failures: 0, backoff: 0, stableAt: 0 }

/** What contradicts itself in a policy, in words, or undefined. Checked before a circuit is made of it. */
export const contradiction = (policy: Policy): string | undefined => {
  if (!Number.isSafeInteger(policy.failuresMax) || policy.failuresMax < 1) {
    return `failures must be at least 1, not ${policy.failuresMax}`
  }
  if (!(policy.windowMillis > 0)) return `the open window must be positive, not ${policy.windowMillis} ms`
  if (!(policy.windowCapMillis >= policy.windowMillis)) {
    return `the longest open window (${policy.windowCapMillis} ms) is below the first (${policy.windowMillis} ms)`
  }
  if (!(policy.leaseMillis > 0)) return `a probe's lease must be positive, not ${policy.leaseMillis} ms`
  return undefined
}

/** May a call run now? A refusal changes nothing, so it carries no state. */
export const admit = (circuit: Circuit, policy: Policy, now: number): Verdict => {
  switch (circuit._tag) {
    case "Closed":
      return { _tag: "Admitted", generation: circuit.generation, circuit }
    case "Open":
      return now < circuit.until
        ? { _tag: "Refused", retryAfterMillis: Math.ceil(circuit.until - now) }
        : probe(circuit, policy, now)
    case "HalfOpen":
      return circuit.leaseEnd !== undefined && now < circuit.leaseEnd
        ? { _tag: "Refused", retryAfterMillis: Math.ceil(Math.min(circuit.leaseEnd - now, policy.windowMillis)) }
        : probe(circuit, policy, now)
  }
}

/** The next generation's only call; whoever held the slot before is from now on late. */
const probe = (circuit: Open | HalfOpen, policy: Policy, now: number): Verdict => {
  const generation = circuit.generation + 1
  const { backoff, windowMillis } = circuit
  return {
    _tag: "Admitted",
    generation,
    circuit: { _tag: "HalfOpen", generation, backoff, windowMillis, leaseEnd: now + policy.leaseMillis }
  }
}

/** Takes the outcome of a call admitted under `generation`. `chance` lies in [0, 1). */
export const settle = (
  circuit: Circuit,
  policy: Policy,
  generation: number,
  outcome: Outcome,
  now: number,
  chance: number
): Circuit => {
  if (generation !== circuit.generation) return circuit
  switch (circuit._tag) {
    case "Open": // Nothing is admitted under an open generation.
      return circuit
    case "Closed": {
      if (outcome._tag === "Ignored") return circuit
      if (outcome._tag === "Success") return circuit.failures === 0 ? circuit : { ...circuit, failures: 0 }
      const failures = circuit.failures + 1
      if (failures < policy.failuresMax) return { ...circuit, failures }
      return open(circuit, policy, now >= circuit.stableAt ? 0 : circuit.backoff + 1, outcome, now, chance)
    }
    case "HalfOpen":
      if (outcome._tag === "Ignored") return { ...circuit, leaseEnd: undefined }
      if (outcome._tag === "Failure") return open(circuit, policy, circuit.backoff + 1, outcome, now, chance)
      return {
        _tag: "Closed",
        generation: generation + 1,
        failures: 0,
        backoff: circuit.backoff,
        stableAt: now + circuit.windowMillis
      }
  }
}

const open = (
  from: Circuit,
  policy: Policy,
  backoff: number,
  { retryAfter = Duration.zero }: Failure,
  now: number,
  chance: number
): Open => {
  const windowMillis = openWindow(policy, backoff, Duration.toMillis(retryAfter), chance)
  return { _tag: "Open", generation: from.generation + 1, backoff, windowMillis, until: now + windowMillis }
}

/**
 * A window drawn evenly from [base × 2ⁿ, 2 × base × 2ⁿ]. The growth stops at half the cap, before the jitter,
 * so that circuits at the cap are spread as well. What the dependency asked for (`Retry-After`) lifts the
 * lower end, up to the cap. Whole milliseconds, so that whoever sleeps that long is not refused again.
 */
export const openWindow = (policy: Policy, backoff: number, askedMillis: number, chance: number): number => {
  const { windowMillis: base, windowCapMillis: cap } = policy
  const grown = Math.max(base, Math.min(base * 2 ** backoff, cap / 2))
  const low = Math.min(Math.max(grown, askedMillis), cap)
  return Math.floor(low + chance * (Math.min(2 * low, cap) - low))
}
