import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"

import { BreakerReports, keptFor } from "../../src/domain/breakers/BreakerReports.ts"
import * as SqlBreakerReports from "../../src/layers/breakers/SqlBreakerReports.ts"
import { liveDatabase, Owner, testDatabase } from "../Postgres.ts"
import { describeLive } from "../support/Live.ts"
import { breakerReportsSuite, freshReporter, seen } from "./BreakerReports.suite.ts"
import { byOwner, PassTime } from "./PassTime.ts"

const reports = Layer.merge(SqlBreakerReports.layer, byOwner)

breakerReportsSuite("sql", reports.pipe(Layer.provide(testDatabase)), { excludeTestServices: true })
describeLive("BreakerReports (live sql)", ["postgres"], ({ postgres }) =>
  breakerReportsSuite("live sql", reports.pipe(Layer.provide(liveDatabase(postgres))), { excludeTestServices: true })
)

layer(reports.pipe(Layer.provideMerge(testDatabase)), { excludeTestServices: true, timeout: "60 seconds" })(
  "SqlBreakerReports",
  (it) => {
    it.effect("whoever publishes removes what the dead left, and many may at once", () =>
      Effect.gen(function* () {
        const reports = yield* BreakerReports
        const owner = yield* Owner
        const living = Array.from({ length: 8 }, () => freshReporter())
        for (let dead = 0; dead < 20; dead++) yield* reports.publish(freshReporter(), [seen("psp"), seen("redis")])
        yield* reports.publish(living[0] ?? freshReporter(), [seen("psp")])
        yield* (yield* PassTime)(keptFor)
        yield* Effect.forEach(living, (reporter) => reports.publish(reporter, [seen("psp")]), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(yield* owner`select count(*)::int as rows from breaker_reports`, [{ rows: 8 }])
      })
    )

    it.effect("a row of another version is left out, and the others are told", () =>
      Effect.gen(function* () {
        const reports = yield* BreakerReports
        const [owner, reporter] = [yield* Owner, freshReporter()]
        yield* reports.publish(reporter, [seen("psp"), seen("redis")])
        yield* owner`update breaker_reports set snapshot = jsonb_set(snapshot, '{state}', '"resting"')
          where process = ${reporter.process} and dependency = 'psp'`
        const told = (yield* reports.living).filter(({ process }) => process === reporter.process)
        assert.deepStrictEqual(
          told.map(({ dependency }) => dependency),
          ["redis"]
        )
      })
    )
  }
)
