/** What can fail alone, how its breaker behaves, and what is asked of it. All of it written in code, never made from input. */
import { Duration } from "effect"
import type { Array, Exit, Schedule } from "effect"

import type { Outcome } from "./Circuit.ts"

/** What opens a breaker; the first that holds does. */
export type Trip = Consecutive | CountWindow | TimeWindow

/** So many failures in a row, in order of completion. */
export interface Consecutive {
  readonly _tag: "Consecutive"
  readonly failures: number
}

/** A share of the last `calls`, once at least `callsMin` of them are there. Rates lie in (0, 1]. */
export interface CountWindow {
  readonly _tag: "CountWindow"
  readonly calls: number
  readonly callsMin: number
  readonly failureRate?: number
  readonly slowRate?: number
}

/** A share of the calls of the last `over`, counted in ten buckets, once at least `callsMin` are there. */
export interface TimeWindow {
  readonly _tag: "TimeWindow"
  readonly over: Duration.Duration
  readonly callsMin: number
  readonly failureRate?: number
  readonly slowRate?: number
}

/** After a close: 1, 2, 4 … 100 % of the calls, in equal steps that take `over` in all; never below `floor` a second. */
export interface Ramp {
  readonly over: Duration.Duration
  readonly floor: number
}

export interface Policy {
  /**
   * Of one call. It must end before its caller's deadline does, or the call is refused; it is never shortened.
   * It is itself the deadline of what runs inside of the call.
   */
  readonly timeout: Duration.Duration
  /**
   * Who ends a call at its timeout: the breaker, by interrupting it, or the client, which answers by then
   * whatever happens (a driver with deadlines of its own), so that no timer is paid for twice.
   */
  readonly endedBy?: "breaker" | "client"
  readonly trips?: Array.NonEmptyReadonlyArray<Trip>
  /** A success that takes longer counts towards `slowRate`. */
  readonly slowAfter?: Duration.Duration
  /** First open window; doubles with every failed probe, and each is drawn between itself and its double. */
  readonly window?: Duration.Duration
  /** Longest open window, jitter included. */
  readonly windowCap?: Duration.Duration
  /** Draws the windows instead; what it draws is held between `window` and `windowCap`. */
  readonly schedule?: Schedule.Schedule<unknown>
  /** Processes that share the dependency. A first window too short to spread their probes is refused. */
  readonly fleet?: number
  /** Probes in a row that must succeed before the breaker closes. */
  readonly probes?: number
  /** How much longer than `timeout` a probe is waited for before the next caller probes. */
  readonly probeSlack?: Duration.Duration
  /** "none": from no call to all calls at once. */
  readonly ramp?: Ramp | "none"
  /** Calls in flight at once; the next is refused, not queued. */
  readonly inFlightMax?: number
}

/** Something remote. Split what can fail by halves; one breaker each. */
export interface Dependency {
  readonly name: string
  /** What it is, for people: `http`, `postgres`, `redis`, `kafka`. */
  readonly kind: string
  readonly policy: Policy
  /** Of many whose names are made from input: what metrics count it under, where its own would be one series more. */
  readonly family?: string
}

/** Decides what an exit shows about the dependency: the caller's own mistakes are a `Success` of it. */
export type Classify<E> = (exit: Exit.Exit<unknown, E>) => Outcome

interface Asked<E> {
  readonly dependency: Dependency
  readonly name: string
  readonly classify: Classify<E>
  /** Of this operation, where it is shorter than the dependency's. */
  readonly timeout?: Duration.Duration
}

/** It changes something there: refused or failed, its caller hears of it. */
export interface Write<E> extends Asked<E> {
  readonly _tag: "Write"
  readonly fallback?: never
}

/** Its answer is acted upon as true, so nothing may stand in for it. */
export interface AuthoritativeRead<E> extends Asked<E> {
  readonly _tag: "AuthoritativeRead"
  readonly fallback?: never
}

let advisory: <E>(asked: Asked<E>, options: AdvisoryOptions) => AdvisoryRead<E>

/**
 * What was true a while ago is better than nothing, for `maxAge`, as long as it says so. The only operation that
 * takes a fallback, and made by `read` alone: neither a copy of one nor a write that calls itself one is one, for
 * the compiler and at run time.
 */
export class AdvisoryRead<E> implements Asked<E> {
  static {
    advisory = (asked, options) => new AdvisoryRead(asked, options)
  }

  /** Past the types: whether it was made here. */
  static is(operation: object): boolean {
    return #maxAge in operation
  }

  readonly _tag = "AdvisoryRead"
  readonly dependency: Dependency
  readonly name: string
  readonly classify: Classify<E>
  readonly timeout?: Duration.Duration
  /**
   * After this long the fallback may answer, while the call goes on to its own end: to be in a hurry is no
   * failure of the dependency, as a shorter timeout would make it.
   */
  readonly patience?: Duration.Duration
  /** Of the fallback itself. */
  readonly fallbackTimeout: Duration.Duration
  readonly #maxAge: Duration.Duration

  private constructor({ classify, dependency, name, timeout }: Asked<E>, options: AdvisoryOptions) {
    this.dependency = dependency
    this.name = name
    this.classify = classify
    if (timeout !== undefined) this.timeout = timeout
    if (options.patience !== undefined) this.patience = Duration.fromInputUnsafe(options.patience)
    this.fallbackTimeout = Duration.fromInputUnsafe(options.fallbackTimeout ?? fallbackTimeout)
    this.#maxAge = Duration.fromInputUnsafe(options.maxAge)
  }

  /** Nothing older is told. */
  get maxAge(): Duration.Duration {
    return this.#maxAge
  }
}

/** A fallback looks something up nearby. */
const fallbackTimeout = Duration.millis(250)

interface AdvisoryOptions {
  readonly maxAge: Duration.Input
  readonly patience?: Duration.Input
  readonly fallbackTimeout?: Duration.Input
}

interface Options<E> {
  readonly classify: Classify<E>
  readonly timeout?: Duration.Input
}

export const make = (name: string, kind: string, policy: Policy): Dependency => ({ name, kind, policy })

/** A fallback does not compile here; one that comes past the types is a defect. */
export const write = <E>(
  dependency: Dependency,
  name: string,
  options: Options<E> & { readonly fallback?: never }
): Write<E> => ({ _tag: "Write", ...asked(dependency, name, options) })

/** `authoritative: false` is the only way to a fallback, and it must say for how long an old answer is worth telling. */
export const read: {
  <E>(
    dependency: Dependency,
    name: string,
    options: Options<E> & { readonly authoritative: true; readonly fallback?: never }
  ): AuthoritativeRead<E>
  <E>(
    dependency: Dependency,
    name: string,
    options: Options<E> & AdvisoryOptions & { readonly authoritative: false }
  ): AdvisoryRead<E>
} = <E>(
  dependency: Dependency,
  name: string,
  options: Options<E> & Partial<AdvisoryOptions> & { readonly authoritative: boolean }
): never => {
  const common = asked(dependency, name, options)
  // The overloads say which of the two it is, and that an advisory one has its `maxAge`.
  return (
    options.authoritative
      ? { _tag: "AuthoritativeRead", ...common }
      : advisory(common, { ...options, maxAge: options.maxAge ?? Duration.zero })
  ) as never
}

const asked = <E>(dependency: Dependency, name: string, options: Options<E>): Asked<E> => {
  if ("fallback" in options) throw new TypeError(`${dependency.name}.${name} may not have a fallback`)
  const { classify } = options
  if (options.timeout === undefined) return { dependency, name, classify }
  const timeout = Duration.fromInputUnsafe(options.timeout)
  const [millis, most] = [Duration.toMillis(timeout), Duration.toMillis(dependency.policy.timeout)]
  // A probe is waited for as long as the dependency's timeout says; a longer one would be given up while it runs.
  if (!(millis > 0 && millis <= most)) {
    throw new TypeError(`${dependency.name}.${name} must end after 0 to ${most} ms, its dependency's, not ${millis} ms`)
  }
  return { dependency, name, classify, timeout }
}
