import { assert, describe, it } from "@effect/vitest"
import { DateTime, Schema } from "effect"

import type { Breaker, BreakerList, BreakerOrder } from "../../src/domain/api/BreakersApi.ts"
import { ReportedState } from "../../src/domain/breakers/BreakerReports.ts"
import { breakerChanges, type Change, told } from "../../src/programs/cli/BreakerChanges.ts"

type Row = typeof Breaker.Type
type Look = typeof BreakerList.Type

const now = DateTime.makeUnsafe("2026-01-02T03:04:05.000Z")

const row = (over: Partial<Row> = {}): Row => ({
  dependency: "psp",
  kind: "http",
  process: "host:1:0a",
  program: "worker",
  state: "closed",
  since_ms: 2000,
  retry_after_ms: 0,
  in_flight: 0,
  failures_in_row: 0,
  failure_rate: null,
  slow_rate: null,
  admitted: 1,
  force: null,
  seen_ms_ago: 0,
  ...over
})

const order: typeof BreakerOrder.Type = {
  dependency: "psp",
  state: "open",
  reason: "quiet",
  until: "2026-01-02T04:00:00.000Z",
  by: "0123456789abcdef"
}

const look = (data: ReadonlyArray<Row>, forces: Look["forces"] = []): Look => ({ data, next_cursor: null, forces })
const lines = (before: Look, after: Look) => breakerChanges(before, after, now).map(told)

const Looks = Schema.Array(
  Schema.Struct({
    dependency: Schema.Literals(["psp", "redis"]),
    process: Schema.Literals(["a", "b"]),
    state: ReportedState
  })
)
/** A list names a breaker once. */
const lookOf = (some: typeof Looks.Type) =>
  look([...new Map(some.map((one) => [`${one.dependency} ${one.process}`, row(one)])).values()])

/** What a watcher knows who has seen `before` and was told of `changes`. */
const replayed = (before: Look, changes: ReadonlyArray<Change>): ReadonlyMap<string, string> => {
  const states = new Map(before.data.map((one) => [`${one.dependency} ${one.process}`, one.state as string]))
  for (const change of changes) {
    if (change.change === "state") states.set(`${change.dependency} ${change.process}`, change.to)
    if (change.change === "joined") states.set(`${change.dependency} ${change.process}`, change.state)
    if (change.change === "left") states.delete(`${change.dependency} ${change.process}`)
  }
  return states
}

describe("breakerChanges", () => {
  it("tells of a state when it changed, not when it was seen", () => {
    assert.deepStrictEqual(lines(look([row()]), look([row({ state: "open" })])), [
      "2026-01-02 03:04:03 UTC  psp  closed -> open  in worker host:1:0a"
    ])
    assert.deepStrictEqual(lines(look([row()]), look([row({ since_ms: 3000, in_flight: 9 })])), [])
  })

  it("tells of orders before what they lead to, of new ones also when they replace another, and of their end", () => {
    const longer = { ...order, until: "2026-01-02T05:00:00.000Z" }
    assert.deepStrictEqual(lines(look([row()]), look([row({ state: "forced-open" })], [order])), [
      "2026-01-02 03:04:05 UTC  psp  ordered open until 2026-01-02 04:00:00 UTC by 0123456789abcdef: quiet",
      "2026-01-02 03:04:03 UTC  psp  closed -> forced-open  in worker host:1:0a"
    ])
    assert.deepStrictEqual(lines(look([], [order]), look([], [{ ...order }])), [])
    assert.lengthOf(lines(look([], [order]), look([], [longer])), 1)
    assert.deepStrictEqual(lines(look([], [order]), look([])), [
      "2026-01-02 03:04:05 UTC  psp  the order to be open has ended"
    ])
  })

  it("tells who has come and who has left", () => {
    assert.deepStrictEqual(lines(look([row()]), look([row({ process: "host:2:0b", state: "open" })])), [
      "2026-01-02 03:04:05 UTC  psp  is open  in worker host:2:0b, which is new",
      "2026-01-02 03:04:05 UTC  psp  was closed  in worker host:1:0a, which has left"
    ])
  })

  it.prop("whoever is told of all changes knows what a look shows", { before: Looks, after: Looks }, (some) => {
    const [before, after] = [lookOf(some.before), lookOf(some.after)]
    assert.deepStrictEqual(
      new Map([...replayed(before, breakerChanges(before, after, now))].toSorted()),
      new Map([...replayed(after, [])].toSorted())
    )
  })
})
