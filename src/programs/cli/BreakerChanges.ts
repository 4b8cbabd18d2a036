/** What has changed between two looks at the breakers. What changes twice in between is told once, or not at all. */
import { DateTime } from "effect"

import type { Breaker, BreakerList, BreakerOrder } from "../../domain/api/BreakersApi.ts"
import { time } from "./Table.ts"

type Row = typeof Breaker.Type
type Look = typeof BreakerList.Type

interface OfProcess {
  readonly at: string
  readonly dependency: string
  readonly program: string
  readonly process: string
}

export type Change =
  | (OfProcess & { readonly change: "state"; readonly from: string; readonly to: string })
  | (OfProcess & { readonly change: "joined" | "left"; readonly state: string })
  | ({ readonly change: "ordered" | "ended"; readonly at: string } & typeof BreakerOrder.Type)

const nameOf = ({ dependency, process }: Row) => JSON.stringify([dependency, process])

const isSame = (one: typeof BreakerOrder.Type, other: typeof BreakerOrder.Type | undefined): boolean =>
  other !== undefined &&
  one.state === other.state &&
  one.until === other.until &&
  one.reason === other.reason &&
  one.by === other.by

/** Orders before what they lead to; a change of state at the time it took place, the others when they were seen. */
export const breakerChanges = (before: Look, after: Look, now: DateTime.Utc): ReadonlyArray<Change> => {
  const at = DateTime.formatIso(now)
  const rows = new Map(before.data.map((row) => [nameOf(row), row]))
  const left = new Map(rows)
  const orders = new Map(before.forces.map((order) => [order.dependency, order]))
  const ended = new Map(orders)

  const ordered = after.forces.flatMap((order): ReadonlyArray<Change> => {
    ended.delete(order.dependency)
    return isSame(order, orders.get(order.dependency)) ? [] : [{ change: "ordered", at, ...order }]
  })
  const moved = after.data.flatMap((row): ReadonlyArray<Change> => {
    const was = rows.get(nameOf(row))
    left.delete(nameOf(row))
    const { dependency, process, program, state } = row
    if (was === undefined) return [{ change: "joined", at, dependency, program, process, state }]
    if (was.state === state) return []
    const since = DateTime.formatIso(DateTime.subtract(now, { milliseconds: row.since_ms }))
    return [{ change: "state", at: since, dependency, program, process, from: was.state, to: state }]
  })
  return [
    ...ordered,
    ...Array.from(ended.values(), (order): Change => ({ change: "ended", at, ...order })),
    ...moved,
    ...[...left.values()].map(({ dependency, process, program, state }): Change => ({
      change: "left",
      at,
      dependency,
      program,
      process,
      state
    }))
  ]
}

/** In a line, for people. */
export const told = (change: Change): string => `${time(change.at)}  ${change.dependency}  ${happened(change)}`

const happened = (change: Change): string => {
  switch (change.change) {
    case "state":
      return `${change.from} -> ${change.to}  in ${change.program} ${change.process}`
    case "joined":
      return `is ${change.state}  in ${change.program} ${change.process}, which is new`
    case "left":
      return `was ${change.state}  in ${change.program} ${change.process}, which has left`
    case "ordered":
      return `ordered ${change.state} until ${time(change.until)} by ${change.by}: ${change.reason}`
    case "ended":
      return `the order to be ${change.state} has ended`
  }
}
