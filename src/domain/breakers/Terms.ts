/** A dependency's policy with nothing left out, in milliseconds, and what can be wrong with one. */
import { Duration } from "effect"
import type { Schedule } from "effect"

import type * as Circuit from "./Circuit.ts"
import type { Policy, Trip } from "./Dependency.ts"
import * as OpenWindow from "./OpenWindow.ts"
import type { Rule } from "./Tally.ts"

export interface Terms extends Circuit.Policy {
  readonly timeoutMillis: number
  readonly endedBy: "breaker" | "client"
  /** Infinite where nothing is slow. */
  readonly slowAfterMillis: number
  /** Infinite where nothing is bounded. */
  readonly inFlightMax: number
  readonly fleet: number
  /** Undefined where windows are drawn by doubling. */
  readonly schedule: Schedule.Schedule<unknown> | undefined
}

/** What holds for a dependency whose own policy says nothing else. */
export interface Defaults {
  /** Failures in a row. */
  readonly failuresMax: number
  readonly window: Duration.Duration
  readonly windowCap: Duration.Duration
  readonly fleet: number
}

/** Half of the calls failed lately: a dependency that answers one call in a hundred never fails five in a row for long. */
const halfFailed: Trip = { _tag: "TimeWindow", over: Duration.seconds(10), callsMin: 20, failureRate: 0.5 }

/** Long enough to see a dependency that cannot carry the load, short enough not to be felt. */
const ramp = { over: Duration.seconds(5), floor: 5 }

/** To be told of an answer that came in time. */
const probeSlack = Duration.seconds(1)

export const resolve = (defaults: Defaults, own: Policy): Terms => {
  const { trips = [{ _tag: "Consecutive", failures: defaults.failuresMax }, halfFailed] } = own
  const comesBack = own.ramp ?? ramp
  return {
    windowMillis: millis(own.window ?? defaults.window),
    windowCapMillis: millis(own.windowCap ?? defaults.windowCap),
    rules: trips.map(ruleOf),
    leaseMillis: millis(own.timeout) + millis(own.probeSlack ?? probeSlack),
    probes: own.probes ?? 1,
    ramp: comesBack === "none" ? undefined : { overMillis: millis(comesBack.over), floor: comesBack.floor },
    timeoutMillis: millis(own.timeout),
    endedBy: own.endedBy ?? "breaker",
    slowAfterMillis: own.slowAfter === undefined ? Number.POSITIVE_INFINITY : millis(own.slowAfter),
    inFlightMax: own.inFlightMax ?? Number.POSITIVE_INFINITY,
    fleet: own.fleet ?? defaults.fleet,
    schedule: own.schedule
  }
}

/** The same text for the same terms, whatever draws the windows. */
export const written = (terms: Terms): string => JSON.stringify({ ...terms, schedule: undefined })

const millis = Duration.toMillis

const ruleOf = (trip: Trip): Rule => {
  if (trip._tag === "Consecutive") return trip
  // A rate above all calls is never reached.
  const rates = { callsMin: trip.callsMin, failureRate: trip.failureRate ?? 2, slowRate: trip.slowRate ?? 2 }
  return trip._tag === "CountWindow"
    ? { _tag: "CountWindow", calls: trip.calls, ...rates }
    : { _tag: "TimeWindow", overMillis: millis(trip.over), ...rates }
}

/** Longest count window: a byte a call. */
const callsMax = 10_000

/** What contradicts itself or cannot be kept, in words, or undefined. */
export const contradiction = (terms: Terms): string | undefined => {
  const { fleet, inFlightMax, probes, slowAfterMillis, timeoutMillis, windowCapMillis, windowMillis } = terms
  if (!isPositive(timeoutMillis)) return `the timeout must be positive and finite, not ${timeoutMillis} ms`
  if (!isPositive(windowMillis)) return `the open window must be positive and finite, not ${windowMillis} ms`
  if (!(windowCapMillis >= windowMillis && Number.isFinite(windowCapMillis))) {
    return `the longest open window (${windowCapMillis} ms) is below the first (${windowMillis} ms)`
  }
  if (!isCount(fleet)) return `a fleet is at least 1 process, not ${fleet}`
  const least = OpenWindow.spreadMin(fleet)
  const spread = Math.min(windowMillis, windowCapMillis - windowMillis)
  if (spread < least && fleet > 1) {
    return (
      `first windows from ${windowMillis} to ${windowMillis + spread} ms let ${rate(fleet, spread)} of ${fleet} processes probe in the same 100 ms, ` +
      `and ${OpenWindow.probesExpectedMax} are too many already: spread them over ${least} ms, or name a smaller fleet`
    )
  }
  if (!isCount(probes)) return `at least 1 probe must succeed, not ${probes}`
  if (!(terms.leaseMillis > timeoutMillis)) return `a probe's lease (${terms.leaseMillis} ms) must outlast its timeout`
  if (!(slowAfterMillis > 0)) return `a call is slow after a positive time, not ${slowAfterMillis} ms`
  if (slowAfterMillis !== Number.POSITIVE_INFINITY && slowAfterMillis >= timeoutMillis) {
    return `a call is slow after ${slowAfterMillis} ms, but ends at its timeout of ${timeoutMillis} ms`
  }
  if (inFlightMax !== Number.POSITIVE_INFINITY && !isCount(inFlightMax)) {
    return `at least 1 call must be allowed in flight, not ${inFlightMax}`
  }
  if (terms.ramp !== undefined && !(isPositive(terms.ramp.overMillis) && isPositive(terms.ramp.floor))) {
    return `a ramp takes a positive time and lets through some calls a second; "none" for no ramp`
  }
  if (terms.rules.length === 0) return "nothing would ever open it"
  return terms.rules.map((rule) => wrongRule(rule, terms)).find((wrong) => wrong !== undefined)
}

const wrongRule = (rule: Rule, { slowAfterMillis }: Terms): string | undefined => {
  if (rule._tag === "Consecutive") {
    return isCount(rule.failures) ? undefined : `failures must be at least 1, not ${rule.failures}`
  }
  if (rule._tag === "CountWindow" && !(isCount(rule.calls) && rule.calls <= callsMax)) {
    return `a window of calls holds 1 to ${callsMax}, not ${rule.calls}`
  }
  if (rule._tag === "TimeWindow" && !isPositive(rule.overMillis)) {
    return `a window of time must be positive and finite, not ${rule.overMillis} ms`
  }
  if (!isCount(rule.callsMin) || (rule._tag === "CountWindow" && rule.callsMin > rule.calls)) {
    return `the least number of calls must be at least 1 and fit into its window, not ${rule.callsMin}`
  }
  if (rule.failureRate > 1 && rule.slowRate > 1) return "a window must name a rate of failures or of slow calls"
  if (!(rule.failureRate > 0 && rule.slowRate > 0)) return "a rate lies above 0 and is at most 1"
  if (rule.slowRate <= 1 && slowAfterMillis === Number.POSITIVE_INFINITY) {
    return "a rate of slow calls needs to know after what time a call is slow"
  }
  return undefined
}

const isPositive = (number: number) => number > 0 && Number.isFinite(number)
const isCount = (number: number) => Number.isSafeInteger(number) && number >= 1
const rate = (fleet: number, spread: number) => (spread === 0 ? "all" : String(Math.ceil((fleet * 100) / spread)))
