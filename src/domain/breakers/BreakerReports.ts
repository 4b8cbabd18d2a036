/** What each process tells of its breakers, for whoever looks at all of them at once. */
import { Context, Duration, Schema } from "effect"
import type { Effect } from "effect"

import type { Snapshot } from "./Breakers.ts"

/** A process, for as long as it runs: started again, it is another. */
export interface Reporter {
  /** Unique. */
  readonly process: string
  /** What it runs: `api`, `worker`. */
  readonly program: string
}

/** The states of `State`, as they are written down. */
export const ReportedState = Schema.Literals(["closed", "open", "half-open", "ramping", "forced-open", "forced-closed"])

/** What a process was ordered is in `ForcedStates`; that it obeys shows in the state. */
export type Seen = Omit<Snapshot, "force">

/** One breaker of one process, as of now: durations go on while a report lies. */
export interface Report extends Reporter, Seen {
  /** Its place in the process' own order: an open breaker with no open one below it comes first. */
  readonly rank: number
  readonly seenAgo: Duration.Duration
}

/** A process that has said nothing for so long lives no more. Five heartbeats. */
export const livingFor = Duration.seconds(15)

/** What a dead process said is forgotten after this long. */
export const keptFor = Duration.hours(1)

/** How many reports a list shows. */
export const reportsListedMax = 10_000

/** Don't know: whoever keeps the reports did not answer. */
export class ReportsUnavailable extends Schema.TaggedError<ReportsUnavailable>()("ReportsUnavailable", {
  cause: Schema.Defect()
}) {}

/**
 * The breakers of all processes.
 *
 * - A report takes the place of the one before, as a whole.
 * - Lists show processes that said something in the last `livingFor` and have not said that they end.
 * - Of others the names of dependencies stay known for `keptFor`; then nothing is left of them.
 */
export class BreakerReports extends Context.Service<
  BreakerReports,
  {
    /** In the order of `Breakers.snapshots`. */
    readonly publish: (reporter: Reporter, seen: ReadonlyArray<Seen>) => Effect.Effect<void, ReportsUnavailable>
    /** It ends, and is listed no more, also when a report of it comes late. */
    readonly leave: (reporter: Reporter) => Effect.Effect<void, ReportsUnavailable>
    /** In the order of `culpritsFirst`, at most `reportsListedMax`. */
    readonly living: Effect.Effect<ReadonlyArray<Report>, ReportsUnavailable>
    /** Whether a process that lives, or lived until a while ago, has a dependency of this name. */
    readonly knows: (dependency: string) => Effect.Effect<boolean, ReportsUnavailable>
  }
>()("cribwork/breakers/BreakerReports") {}

/** What a snapshot says now that said it `ago`. */
export const reportOf = (reporter: Reporter, rank: number, seen: Seen, seenAgo: Duration.Duration): Report => ({
  ...seen,
  ...reporter,
  rank,
  seenAgo,
  since: Duration.sum(seen.since, seenAgo),
  retryAfter: Duration.max(Duration.zero, Duration.subtract(seen.retryAfter, seenAgo))
})

const isTroubled = ({ state }: Seen): boolean => state !== "closed" && state !== "forced-closed"

/**
 * Where to look first: a dependency that is in trouble anywhere before those that are well, among them the one
 * that some process puts first; then by name. Rows of a dependency stand together, those in trouble on top.
 */
export const culpritsFirst = (reports: ReadonlyArray<Report>): ReadonlyArray<Report> => {
  const ranks = new Map<string, number>()
  for (const report of reports) {
    if (!isTroubled(report)) continue
    ranks.set(report.dependency, Math.min(report.rank, ranks.get(report.dependency) ?? Infinity))
  }
  const rankOf = ({ dependency }: Report) => ranks.get(dependency) ?? Infinity
  return reports.toSorted(
    (a, b) =>
      inOrder(rankOf(a), rankOf(b)) ||
      inOrder(a.dependency, b.dependency) ||
      inOrder(isTroubled(a) ? 0 : 1, isTroubled(b) ? 0 : 1) ||
      inOrder(a.program, b.program) ||
      inOrder(a.process, b.process)
  )
}

const inOrder = <A extends string | number>(a: A, b: A): number => (a < b ? -1 : a > b ? 1 : 0)
