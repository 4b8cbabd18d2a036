import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"

import { culpritsFirst, ReportedState, type Report, reportOf } from "../../src/domain/breakers/BreakerReports.ts"
import { seen } from "./BreakerReports.suite.ts"

const Some = Schema.Array(
  Schema.Struct({
    dependency: Schema.Literals(["psp", "redis", "postgres"]),
    process: Schema.Literals(["a", "b", "c"]),
    rank: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 })),
    state: ReportedState
  })
)

const reported = (some: typeof Some.Type): ReadonlyArray<Report> =>
  some.map(({ dependency, process, rank, state }) =>
    reportOf({ process, program: "api" }, rank, seen(dependency, { state }), Duration.zero)
  )

const millis = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))

const keys = (all: ReadonlyArray<Report>) => all.map(({ dependency, process }) => `${dependency} ${process}`)

describe("culpritsFirst", () => {
  it.prop(
    "loses and makes up no row, and its order does not depend on the one it is given",
    { some: Some },
    ({ some }) => {
      const told = culpritsFirst(reported(some))
      assert.sameDeepMembers([...told], [...reported(some)])
      assert.deepStrictEqual(keys(culpritsFirst(reported(some.toReversed()))), keys(told))
    }
  )

  it.prop(
    "rows of a dependency stand together, and what is in trouble anywhere stands first",
    { some: Some },
    ({ some }) => {
      const told = culpritsFirst(reported(some))
      const names = told.map(({ dependency }) => dependency)
      const runs = names.filter((name, at) => name !== names[at - 1])
      assert.deepStrictEqual(runs, [...new Set(names)])
      const troubled = runs.map((name) =>
        told.some(({ dependency, state }) => dependency === name && state !== "closed" && state !== "forced-closed")
      )
      assert.deepStrictEqual(troubled, [...troubled.filter((one) => one), ...troubled.filter((one) => !one)])
    }
  )
})

describe("reportOf", () => {
  it.prop("lets durations go on, and none below zero", { since: millis, retry: millis, ago: millis }, (some) => {
    const said = seen("psp", { since: Duration.millis(some.since), retryAfter: Duration.millis(some.retry) })
    const report = reportOf({ process: "a", program: "api" }, 0, said, Duration.millis(some.ago))
    assert.closeTo(Duration.toMillis(report.since), some.since + some.ago, 0.001)
    assert.closeTo(Duration.toMillis(report.retryAfter), Math.max(0, some.retry - some.ago), 0.001)
  })
})
