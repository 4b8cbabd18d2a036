import { assert, layer } from "@effect/vitest"
import { Duration, Effect } from "effect"
import type { Layer } from "effect"

import {
  BreakerReports,
  keptFor,
  livingFor,
  type Reporter,
  type Seen
} from "../../src/domain/breakers/BreakerReports.ts"
import { PassTime } from "./PassTime.ts"

let count = 0
export const freshReporter = (program = "worker"): Reporter => ({ process: `host:${process.pid}:${count++}`, program })
const freshName = () => `dependency-${count++}`

export const seen = (dependency: string, over: Partial<Seen> = {}): Seen => ({
  dependency,
  kind: "http",
  state: "closed",
  since: Duration.seconds(5),
  retryAfter: Duration.zero,
  inFlight: 0,
  failuresInRow: 0,
  failureRate: undefined,
  slowRate: undefined,
  backoff: 0,
  admitted: 1,
  ...over
})

const of = Effect.fnUntraced(function* ({ process }: Reporter) {
  return (yield* (yield* BreakerReports).living).filter((report) => report.process === process)
})

/** What every `BreakerReports` promises. */
export const breakerReportsSuite = <E>(
  name: string,
  adapter: Layer.Layer<BreakerReports | PassTime, E>,
  clock: { readonly excludeTestServices: boolean }
) =>
  layer(adapter, { ...clock, timeout: "60 seconds" })(`BreakerReports (${name})`, (it) => {
    it.effect("tells what a process said, and of durations what has become of them meanwhile", () =>
      Effect.gen(function* () {
        const reporter = freshReporter("api")
        const said = seen(freshName(), {
          state: "open",
          retryAfter: Duration.seconds(7),
          inFlight: 3,
          failuresInRow: 5,
          failureRate: 0.625,
          slowRate: 0.25,
          backoff: 2,
          admitted: 0.5
        })
        yield* (yield* BreakerReports).publish(reporter, [said])
        yield* (yield* PassTime)("4 seconds")
        const [report] = yield* of(reporter)
        const { retryAfter, since, ...same } = said
        assert.deepOwnInclude(report ?? {}, { ...same, ...reporter, rank: 0 })
        const [ago, sinceNow, retry] = [report?.seenAgo, report?.since, report?.retryAfter].map((one) =>
          Duration.toMillis(one ?? Duration.zero)
        )
        assert.isAtLeast(ago ?? 0, 4000)
        assert.closeTo(sinceNow ?? 0, Duration.toMillis(since) + (ago ?? 0), 0.01)
        assert.closeTo(retry ?? 0, Duration.toMillis(retryAfter) - (ago ?? 0), 0.01)
      })
    )

    it.effect("a report takes the place of the one before, as a whole", () =>
      Effect.gen(function* () {
        const reports = yield* BreakerReports
        const reporter = freshReporter()
        const [stays, goes, comes] = [freshName(), freshName(), freshName()]
        yield* reports.publish(reporter, [seen(goes), seen(stays)])
        yield* reports.publish(reporter, [seen(stays, { state: "open" }), seen(comes)])
        assert.deepStrictEqual(
          (yield* of(reporter)).map(({ dependency, rank, state }) => [dependency, rank, state]),
          [
            [stays, 0, "open"],
            [comes, 1, "closed"]
          ]
        )
        yield* reports.publish(reporter, [])
        assert.lengthOf(yield* of(reporter), 0)
      })
    )

    it.effect("lists only the living; the names of their dependencies stay known for a while longer", () =>
      Effect.gen(function* () {
        const reports = yield* BreakerReports
        const [gone, silent] = [freshReporter(), freshReporter()]
        const [ofGone, ofSilent] = [freshName(), freshName()]
        yield* reports.publish(gone, [seen(ofGone)])
        yield* reports.publish(silent, [seen(ofSilent)])
        yield* reports.leave(gone)
        assert.lengthOf(yield* of(gone), 0)
        yield* reports.publish(gone, [seen(ofGone)])
        assert.lengthOf(yield* of(gone), 0)
        assert.lengthOf(yield* of(silent), 1)
        yield* (yield* PassTime)(livingFor)
        assert.lengthOf(yield* of(silent), 0)
        assert.isTrue(yield* reports.knows(ofGone))
        assert.isTrue(yield* reports.knows(ofSilent))
        assert.isFalse(yield* reports.knows(freshName()))

        yield* reports.publish(silent, [seen(ofSilent)])
        assert.lengthOf(yield* of(silent), 1)

        yield* (yield* PassTime)(keptFor)
        assert.isFalse(yield* reports.knows(ofGone))
        assert.isFalse(yield* reports.knows(ofSilent))
      })
    )

    it.effect("puts first where to look: what some process puts first of what is in trouble", () =>
      Effect.gen(function* () {
        const reports = yield* BreakerReports
        const [api, worker] = [freshReporter("api"), freshReporter("worker")]
        const [well, above, culprit] = [freshName(), freshName(), freshName()]
        yield* reports.publish(api, [seen(above), seen(culprit), seen(well)])
        yield* reports.publish(worker, [seen(culprit, { state: "open" }), seen(above, { state: "open" }), seen(well)])
        const mine = new Set([api.process, worker.process])
        assert.deepStrictEqual(
          (yield* reports.living)
            .filter(({ process }) => mine.has(process))
            .map(({ dependency, program, state }) => [dependency, program, state]),
          [
            [culprit, "worker", "open"],
            [culprit, "api", "closed"],
            [above, "worker", "open"],
            [above, "api", "closed"],
            [well, "api", "closed"],
            [well, "worker", "closed"]
          ]
        )
      })
    )
  })
