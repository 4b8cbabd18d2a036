import { DateTime, Duration, Effect, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import type { Breaker as BreakerOnWire, BreakerOrder } from "../../domain/api/BreakersApi.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { BreakerNotFound, InvalidRequest } from "../../domain/api/Problem.ts"
import { BreakerReports, type Report } from "../../domain/breakers/BreakerReports.ts"
import { Breakers } from "../../domain/breakers/Breakers.ts"
import { type ForcedState, ForcedStates } from "../../domain/breakers/ForcedStates.ts"

const wholeMillis = (duration: Duration.Duration) => Math.ceil(Duration.toMillis(duration))

const ordered = (forced: ForcedState): typeof BreakerOrder.Type => ({
  dependency: forced.dependency,
  state: forced.to,
  reason: forced.reason,
  until: DateTime.formatIso(forced.until),
  by: forced.by
})

const onWire = (report: Report, force: typeof BreakerOrder.Type | undefined): typeof BreakerOnWire.Type => ({
  dependency: report.dependency,
  kind: report.kind,
  process: report.process,
  program: report.program,
  state: report.state,
  since_ms: wholeMillis(report.since),
  retry_after_ms: wholeMillis(report.retryAfter),
  in_flight: report.inFlight,
  failures_in_row: report.failuresInRow,
  failure_rate: report.failureRate ?? null,
  slow_rate: report.slowRate ?? null,
  admitted: report.admitted,
  force: force ?? null,
  seen_ms_ago: wholeMillis(report.seenAgo)
})

const wrongUntil = (detail: string) => new InvalidRequest({ errors: [{ in: "body", pointer: "/until", detail }] })

/** RFC 3339, 5.6; JavaScript itself would take much else for a time. */
const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/

const untilOf = (text: string | undefined): Effect.Effect<DateTime.Utc, InvalidRequest> => {
  if (text === undefined) return Effect.fail(wrongUntil("Needed, so that no order outlives what it was given for."))
  const until = rfc3339.test(text) ? DateTime.make(text.toUpperCase().replace(" ", "T")) : Option.none()
  return Option.isSome(until)
    ? Effect.succeed(DateTime.toUtc(until.value))
    : Effect.fail(wrongUntil("Not an RFC 3339 time, such as 2026-01-31T12:00:00Z."))
}

export const layer = HttpApiBuilder.group(
  Api,
  "breakers",
  Effect.fnUntraced(function* (handlers) {
    const breakers = yield* Breakers
    const reports = yield* BreakerReports
    const states = yield* ForcedStates

    /** Declared here, told of by some process, or under an order, which must be liftable whoever has gone. */
    const isKnown = Effect.fnUntraced(function* (name: string) {
      const isNamed = ({ dependency }: { readonly dependency: string }) => dependency === name
      return (
        (yield* breakers.snapshots).some(isNamed) ||
        (yield* Effect.mapError(reports.knows(name), problemOf)) ||
        (yield* Effect.mapError(states.active, problemOf)).some(isNamed)
      )
    })

    return handlers.handleAll({
      list: Effect.fnUntraced(function* () {
        const [all, active] = yield* Effect.mapError(Effect.all([reports.living, states.active]), problemOf)
        const forces = active.map(ordered)
        const forceOf = (name: string) => forces.find(({ dependency }) => dependency === name)
        return { data: all.map((report) => onWire(report, forceOf(report.dependency))), next_cursor: null, forces }
      }),
      force: Effect.fnUntraced(function* ({ params, payload }) {
        const { keyId: by } = yield* CurrentCaller
        const { reason, state } = payload
        const dependency = params.name
        if (!(yield* isKnown(dependency))) return yield* new BreakerNotFound({})
        if (state === "auto") {
          if (payload.until !== undefined) return yield* wrongUntil("`auto` has no end.")
          yield* Effect.mapError(states.lift({ dependency, reason, by }), problemOf)
          return { dependency, state, reason, until: null, by }
        }
        const until = yield* untilOf(payload.until)
        const forced = yield* Effect.mapError(states.force({ dependency, to: state, until, reason, by }), problemOf)
        return ordered(forced)
      })
    })
  })
)
