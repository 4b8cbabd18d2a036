/**
 * `ForcedStates` in Postgres, through the side door. Time is the database's alone: it says what has ended, and
 * how much is left. Acts wait for each other, so that each entry of the audit log begins where the one before
 * ended; who reads waits for nobody. The `AuditLog` must be one on the same client, or an act and its entry
 * would not be kept together.
 */
import { DateTime, Duration, Effect, Layer } from "effect"

import { AuditLog } from "../../domain/access/AuditLog.ts"
import { type ForcedState, ForcedStates, ForcesUnavailable, outOfBounds } from "../../domain/breakers/ForcedStates.ts"
import { SideDoor } from "../platform/SideDoor.ts"
import { forceRecord, liftRecord } from "./ForceRecord.ts"

interface Row {
  readonly dependency: string
  readonly state: "open" | "closed"
  readonly reason: string
  readonly forced_by: string
  readonly forced_at: Date
  readonly until: Date
  readonly now: Date
}

const make = Effect.gen(function* () {
  const sql = yield* SideDoor
  const audit = yield* AuditLog

  const active = sql<Row>`select dependency, state, reason, forced_by, forced_at, until, clock_timestamp() as now
    from breaker_forces where until > clock_timestamp() order by dependency`.pipe(
    Effect.map((rows) => rows.map(forcedState)),
    Effect.mapError(unavailable)
  )

  /** What holds for a dependency now, and nobody else acts until the transaction ends. */
  const held = Effect.fnUntraced(function* (dependency: string) {
    yield* sql`lock table breaker_forces in share row exclusive mode`
    const [row] = yield* sql<Row>`select dependency, state, reason, forced_by, forced_at, until,
      clock_timestamp() as now from breaker_forces where dependency = ${dependency} and until > clock_timestamp()`
    return row === undefined ? undefined : forcedState(row)
  })

  const force: ForcedStates["Service"]["force"] = Effect.fnUntraced(
    function* (order) {
      const before = yield* held(order.dependency)
      const [clock] = yield* sql<{ now: Date }>`select clock_timestamp() as now`
      const at = DateTime.fromDateUnsafe(clock?.now ?? (yield* Effect.die("the database tells no time")))
      const refused = outOfBounds(order.until, at)
      if (refused !== undefined) return yield* refused
      const forced = { ...order, at, left: DateTime.distance(at, order.until) }
      yield* sql`insert into breaker_forces (dependency, state, reason, forced_by, forced_at, until) values
        (${order.dependency}, ${order.to}, ${order.reason}, ${order.by}, ${DateTime.toDateUtc(at)},
        ${DateTime.toDateUtc(order.until)}) on conflict (dependency) do update set state = excluded.state,
        reason = excluded.reason, forced_by = excluded.forced_by, forced_at = excluded.forced_at,
        until = excluded.until`
      yield* audit.record(forceRecord(before, forced))
      return forced
    },
    sql.withTransaction,
    Effect.catchTags({ AccessUnavailable: unavailable, SqlError: unavailable })
  )

  const lift: ForcedStates["Service"]["lift"] = Effect.fnUntraced(
    function* (lift) {
      const before = yield* held(lift.dependency)
      if (before === undefined) return undefined
      yield* sql`delete from breaker_forces where dependency = ${lift.dependency}`
      yield* audit.record(liftRecord(before, lift))
      return before
    },
    sql.withTransaction,
    Effect.catchTags({ AccessUnavailable: unavailable, SqlError: unavailable })
  )

  return ForcedStates.of({ active, force, lift })
})

export const layer: Layer.Layer<ForcedStates, never, SideDoor | AuditLog> = Layer.effect(ForcedStates, make)

const unavailable = (cause: unknown) => new ForcesUnavailable({ cause })

const forcedState = (row: Row): ForcedState => ({
  dependency: row.dependency,
  to: row.state,
  reason: row.reason,
  by: row.forced_by,
  at: DateTime.fromDateUnsafe(row.forced_at),
  until: DateTime.fromDateUnsafe(row.until),
  left: Duration.millis(row.until.getTime() - row.now.getTime())
})
