/**
 * What one breaker counts. On the way of a call a count is a number that grows, which the registry of metrics
 * reads when it is asked: to look its series up each time would cost as much as all else. Labels are names
 * written in code, and a series is there from the first time it has something to tell.
 */
import { Metric } from "effect"
import type { Context } from "effect"

import type { State } from "../../domain/breakers/Breaker.ts"
import type { Dependency } from "../../domain/breakers/Dependency.ts"

export type Came = "success" | "slow" | "failure" | "ignored" | "stale"
export type Refusal = State | "bulkhead" | "deadline"

interface Series {
  count: number
}

const described = {
  calls_total: "Calls by what they showed.",
  refusals_total: "Calls that a breaker refused, by why.",
  probes_total: "Probes by what they showed.",
  fallbacks_total: "Fallbacks of advisory reads, by what came of them.",
  transitions_total: "Changes of state of a breaker."
} as const
type Name = keyof typeof described

/** As numbers, so that a graph shows when: 0 closed, 1 half-open, 2 ramping, 3 open, 4 forced closed, 5 forced open. */
const places: { readonly [S in State]: number } = {
  closed: 0,
  "half-open": 1,
  ramping: 2,
  open: 3,
  "forced-closed": 4,
  "forced-open": 5
}

/** Seconds from half a second, which is a hiccup, to an hour. */
const recoveries = [0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600]

/** What the registry of `context` is told of the breakers of one process. A family's are added up. */
export class Counts {
  readonly context: Context.Context<never>
  readonly #series = new Map<string, Series>()

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  of(name: Name, attributes: Record<string, string>): Series {
    const key = [name, ...Object.values(attributes)].join(" ")
    const known = this.#series.get(key)
    if (known !== undefined) return known
    const series = { count: 0 }
    const options = { description: described[name], incremental: true, attributes }
    Metric.registerUnsafe(Metric.counter(`cribwork_breakers_${name}`, options), this.context, {
      get: () => ({ count: series.count, incremental: true }),
      update: readOnly,
      modify: readOnly
    })
    this.#series.set(key, series)
    return series
  }
}

/** It grows here alone. */
const readOnly = () => {}

export class Signals {
  readonly #dependency: Dependency
  readonly #counts: Counts
  /** The one that nearly every call grows. */
  #successes: Series | undefined
  /** By name, and by what their label says. */
  #others: { [N in Name]?: Map<string, Series> } | undefined

  constructor(dependency: Dependency, counts: Counts) {
    this.#dependency = dependency
    this.#counts = counts
  }

  came(outcome: Came): void {
    if (outcome !== "success") return this.#count("calls_total", outcome, "outcome")
    this.#successes ??= this.#series("calls_total", { outcome })
    this.#successes.count++
  }

  refused(reason: Refusal): void {
    this.#count("refusals_total", reason, "reason")
  }

  probed(outcome: "success" | "failure" | "ignored"): void {
    this.#count("probes_total", outcome, "outcome")
  }

  fellBack(outcome: "served" | "too-old" | "failed"): void {
    this.#count("fallbacks_total", outcome, "outcome")
  }

  moved(from: State, to: State, running: number): void {
    this.#count("transitions_total", `${from} ${to}`, "from", "to")
    if (this.#dependency.family !== undefined) return // Gauges cannot be added up.
    const { context } = this.#counts
    const attributes = { dependency: this.#name }
    const state = Metric.gauge("cribwork_breakers_state", {
      description: "State of a breaker: 0 closed, 1 half-open, 2 ramping, 3 open, 4 forced closed, 5 forced open.",
      attributes
    })
    const inFlight = Metric.gauge("cribwork_breakers_in_flight", {
      description: "Calls that are running behind a breaker; read when it moves or refuses for want of room.",
      attributes
    })
    state.updateUnsafe(places[to], context)
    inFlight.updateUnsafe(running, context)
  }

  recovered(seconds: number): void {
    const recovery = Metric.histogram("cribwork_breakers_recovery_seconds", {
      description: "Time from the first opening of a breaker until all calls are let through again.",
      boundaries: recoveries,
      attributes: { dependency: this.#name }
    })
    recovery.updateUnsafe(seconds, this.#counts.context)
  }

  get #name(): string {
    return this.#dependency.family ?? this.#dependency.name
  }

  /** `said` is the value of the label; of two, their values apart by a space. */
  #count(name: Name, said: string, ...labels: ReadonlyArray<string>): void {
    this.#others ??= {}
    const all = (this.#others[name] ??= new Map())
    let series = all.get(said)
    if (series === undefined) {
      const values = said.split(" ")
      series = this.#series(name, Object.fromEntries(labels.map((label, place) => [label, values[place] ?? ""])))
      all.set(said, series)
    }
    series.count++
  }

  #series(name: Name, labels: Record<string, string>): Series {
    return this.#counts.of(name, { dependency: this.#name, ...labels })
  }
}
