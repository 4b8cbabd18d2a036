/**
 * `BreakerReports` in Postgres, through the side door: one row a breaker and process, its snapshot as JSON. A
 * row that another version wrote and this one cannot read is left out of lists, so that a deployment in steps
 * hides a few rows and breaks none. Whoever publishes also removes what dead processes left.
 */
import { Duration, Effect, Layer, Option, Schema } from "effect"

import {
  BreakerReports,
  culpritsFirst,
  keptFor,
  livingFor,
  ReportedState,
  type Report,
  reportOf,
  reportsListedMax,
  ReportsUnavailable,
  type Seen
} from "../../domain/breakers/BreakerReports.ts"
import { SideDoor } from "../platform/SideDoor.ts"

/** Durations in milliseconds. */
const Stored = Schema.Struct({
  kind: Schema.String,
  state: ReportedState,
  since: Schema.Finite,
  retryAfter: Schema.Finite,
  inFlight: Schema.Finite,
  failuresInRow: Schema.Finite,
  failureRate: Schema.optionalKey(Schema.Finite),
  slowRate: Schema.optionalKey(Schema.Finite),
  backoff: Schema.Finite,
  admitted: Schema.Finite
})
const decode = Schema.decodeUnknownOption(Stored)

interface Row {
  readonly process: string
  readonly program: string
  readonly dependency: string
  readonly rank: number
  readonly snapshot: unknown
  readonly seen_ago_ms: number
}

const interval = (duration: Duration.Duration) => `${Duration.toMillis(duration)} milliseconds`

const make = Effect.gen(function* () {
  const sql = yield* SideDoor

  const publish: BreakerReports["Service"]["publish"] = ({ process, program }, all) => {
    const rows = JSON.stringify(
      all.map((seen, rank) => ({ dependency: seen.dependency, rank, snapshot: stored(seen) }))
    )
    return sql`with
      given as (select * from jsonb_to_recordset(${rows}::text::jsonb) as g (dependency text, rank int, snapshot jsonb)),
      gone as (delete from breaker_reports
        where process = ${process} and dependency not in (select dependency from given)),
      forgotten as (delete from breaker_reports where (process, dependency) in (
        select process, dependency from breaker_reports where process <> ${process}
          and seen_at < clock_timestamp() - ${interval(keptFor)}::text::interval for update skip locked))
      insert into breaker_reports (process, program, dependency, rank, snapshot, seen_at)
        select ${process}, ${program}, dependency, rank, snapshot, clock_timestamp() from given
        on conflict (process, dependency) do update set program = excluded.program, rank = excluded.rank,
          snapshot = excluded.snapshot, seen_at = excluded.seen_at`.pipe(Effect.asVoid, Effect.mapError(unavailable))
  }

  const leave: BreakerReports["Service"]["leave"] = ({ process }) =>
    sql`update breaker_reports set ended = true where process = ${process}`.pipe(
      Effect.asVoid,
      Effect.mapError(unavailable)
    )

  const living = sql<Row>`select process, program, dependency, rank, snapshot,
    (extract(epoch from clock_timestamp() - seen_at) * 1000)::float8 as seen_ago_ms
    from breaker_reports where not ended and seen_at > clock_timestamp() - ${interval(livingFor)}::text::interval
    limit ${reportsListedMax}`.pipe(
    Effect.map((rows) => culpritsFirst(rows.flatMap((row) => Option.toArray(reported(row))))),
    Effect.mapError(unavailable)
  )

  const knows: BreakerReports["Service"]["knows"] = (dependency) =>
    sql<{ known: boolean }>`select exists (select from breaker_reports where dependency = ${dependency}
      and seen_at > clock_timestamp() - ${interval(keptFor)}::text::interval) as known`.pipe(
      Effect.map(([row]) => row?.known === true),
      Effect.mapError(unavailable)
    )

  return BreakerReports.of({ publish, leave, living, knows })
})

export const layer: Layer.Layer<BreakerReports, never, SideDoor> = Layer.effect(BreakerReports, make)

const unavailable = (cause: unknown) => new ReportsUnavailable({ cause })

const stored = (seen: Seen): typeof Stored.Type => ({
  kind: seen.kind,
  state: seen.state,
  since: Duration.toMillis(seen.since),
  retryAfter: Duration.toMillis(seen.retryAfter),
  inFlight: seen.inFlight,
  failuresInRow: seen.failuresInRow,
  ...(seen.failureRate === undefined ? {} : { failureRate: seen.failureRate }),
  ...(seen.slowRate === undefined ? {} : { slowRate: seen.slowRate }),
  backoff: seen.backoff,
  admitted: seen.admitted
})

const reported = (row: Row): Option.Option<Report> =>
  Option.map(decode(row.snapshot), ({ since, retryAfter, failureRate, slowRate, ...same }) =>
    reportOf(
      { process: row.process, program: row.program },
      row.rank,
      {
        ...same,
        dependency: row.dependency,
        since: Duration.millis(since),
        retryAfter: Duration.millis(retryAfter),
        failureRate,
        slowRate
      },
      Duration.millis(Math.max(0, row.seen_ago_ms))
    )
  )
