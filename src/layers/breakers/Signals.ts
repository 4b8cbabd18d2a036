/** What breakers count. Labels are names written in code, and each series is looked up once. */
import { Metric } from "effect"
import type { Context } from "effect"

import type { State } from "../../domain/breakers/Breaker.ts"
import type { Dependency } from "../../domain/breakers/Dependency.ts"

const counter = (name: string, description: string, attributes: Record<string, string>) =>
  Metric.counter(`cribwork_breakers_${name}`, { description, incremental: true, attributes })

export type Came = "success" | "slow" | "failure" | "ignored" | "stale"
export type Refusal = State | "bulkhead" | "deadline"

type Count = (context: Context.Context<never>) => void

const once = <Key extends string>(make: (key: Key) => Metric.Counter<number>): ((key: Key) => Count) => {
  const made = new Map<Key, Count>()
  return (key) => {
    const there = made.get(key)
    if (there !== undefined) return there
    const series = make(key)
    const count: Count = (context) => series.updateUnsafe(1, context)
    made.set(key, count)
    return count
  }
}

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

/** A family's are added up; a gauge, which cannot be, has none. */
export const of = ({ family, name }: Dependency) => {
  const dependency = family ?? name
  const state = Metric.gauge("cribwork_breakers_state", {
    description: "State of a breaker: 0 closed, 1 half-open, 2 ramping, 3 open, 4 forced closed, 5 forced open.",
    attributes: { dependency }
  })
  const inFlight = Metric.gauge("cribwork_breakers_in_flight", {
    description: "Calls that are running behind a breaker; read when it moves or refuses for want of room.",
    attributes: { dependency }
  })
  const recovery = Metric.histogram("cribwork_breakers_recovery_seconds", {
    description: "Time from the first opening of a breaker until all calls are let through again.",
    boundaries: recoveries,
    attributes: { dependency }
  })
  return {
    came: once((outcome: Came) => counter("calls_total", "Calls by what they showed.", { dependency, outcome })),
    refused: once((reason: Refusal) =>
      counter("refusals_total", "Calls that a breaker refused, by why.", { dependency, reason })
    ),
    probed: once((outcome: "success" | "failure" | "ignored") =>
      counter("probes_total", "Probes by what they showed.", { dependency, outcome })
    ),
    fellBack: once((outcome: "served" | "too-old" | "failed") =>
      counter("fallbacks_total", "Fallbacks of advisory reads, by what came of them.", { dependency, outcome })
    ),
    moved: (from: State, to: State, running: number, context: Context.Context<never>) => {
      counter("transitions_total", "Changes of state of a breaker.", { dependency, from, to }).updateUnsafe(1, context)
      if (family !== undefined) return
      state.updateUnsafe(places[to], context)
      inFlight.updateUnsafe(running, context)
    },
    recovered: (seconds: number, context: Context.Context<never>) => recovery.updateUnsafe(seconds, context)
  }
}

export type Signals = ReturnType<typeof of>
