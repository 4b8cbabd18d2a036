/** `cribwork breakers`: what processes believe of their dependencies, and what operators order them to. */
import { DateTime, Duration, Effect, Option } from "effect"
import { Argument, Command } from "effect/cli"

import type { Breaker, BreakerList, BreakerOrder } from "../../domain/api/BreakersApi.ts"
import { Forced } from "../../domain/breakers/Breakers.ts"
import { forcedMax } from "../../domain/breakers/ForcedStates.ts"
import * as Settings from "../../layers/platform/Settings.ts"
import { apiClient, type ApiFailure } from "./ApiClient.ts"
import { breakerChanges, told } from "./BreakerChanges.ts"
import { ForceHowLong, lasting } from "./Lasting.ts"
import * as Printer from "./Printer.ts"
import { reason } from "./Reason.ts"
import { facts, plain, table, time } from "./Table.ts"

const brief = (millis: number): string =>
  millis < 1000 ? `${millis} ms` : Duration.format(Duration.seconds(Math.floor(millis / 1000)))

const percent = (share: number | null): string => (share === null ? "-" : `${Math.round(share * 100)} %`)

const orderText = ({ by, state, until }: typeof BreakerOrder.Type) => `${state} until ${time(until)} by ${by}`

const cells = (row: typeof Breaker.Type): ReadonlyArray<string> => [
  row.dependency,
  row.state,
  brief(row.since_ms),
  row.retry_after_ms === 0 ? "-" : brief(row.retry_after_ms),
  String(row.in_flight),
  String(row.failures_in_row),
  percent(row.failure_rate),
  percent(row.slow_rate),
  percent(row.admitted),
  row.force === null ? "-" : orderText(row.force),
  row.program,
  row.process
]

const head = [
  "dependency",
  "state",
  "for",
  "retry in",
  "in flight",
  "in a row",
  "failed",
  "slow",
  "admitted",
  "order",
  "program",
  "process"
]

/** Orders about what no living process has stand below: nobody obeys them yet. */
const listed = ({ data, forces }: typeof BreakerList.Type): string => {
  const idle = forces.filter(({ dependency }) => !data.some((row) => row.dependency === dependency))
  return [
    table(head, data.map(cells)),
    ...idle.map((order) => plain(`${order.dependency} is in no living process; ordered ${orderText(order)}`))
  ].join("\n")
}

const list = Command.make(
  "list",
  {},
  Effect.fnUntraced(function* () {
    const { ask } = yield* apiClient
    const all = yield* ask((api) => api.breakers.list())
    yield* Printer.answer(all, listed(all))
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("List the breakers of all processes"),
  Command.withDescription(
    "Lists the breakers of all processes, those in trouble first: on top an open one with no open one below it. Needs the scope ops:read."
  )
)

/** Between two looks. */
const lookEvery = Duration.seconds(1)

/** The server, or something before it, is away for a while. */
const isPassing = (failure: ApiFailure): boolean => {
  switch (failure._tag) {
    case "ApiUnreachable":
      return true
    case "ApiRefused":
      return failure.problem.status === 429 || failure.problem.status >= 500
    case "NotTheApi":
      return failure.status >= 500
  }
}

const watch = Command.make(
  "watch",
  {},
  Effect.fnUntraced(function* () {
    const { ask } = yield* apiClient
    const look = ask((api) => api.breakers.list())
    let isAway = false
    const lookAgain = look.pipe(
      Effect.asSome,
      Effect.catchIf(isPassing, (failure) =>
        Effect.as(
          isAway ? Effect.void : Printer.remark(`${failure.message}\nAsked again every ${Duration.format(lookEvery)}.`),
          Option.none()
        )
      )
    )
    let before = yield* look
    let isRead = yield* Printer.event(before, `${listed(before)}\n`)
    while (isRead) {
      yield* Effect.sleep(lookEvery)
      const after = yield* lookAgain
      isAway = Option.isNone(after)
      if (Option.isNone(after)) continue
      for (const change of breakerChanges(before, after.value, yield* DateTime.now)) {
        isRead = isRead && (yield* Printer.event(change, plain(told(change))))
      }
      before = after.value
    }
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("Tell of changes as they happen"),
  Command.withDescription(
    "Shows the list, then a line for each change of state, order and process, until it is interrupted. Looks once a second, so what changes twice within one is told once. With --json a document a line. Needs the scope ops:read."
  )
)

const force = Command.make(
  "force",
  {
    name: Argument.String("name").pipe(Argument.withDescription("The dependency, as `list` shows it")),
    state: Argument.Literals("state", Forced.literals).pipe(
      Argument.withDescription("open: no call gets through; closed: every call does; auto: back to itself")
    ),
    reason,
    lasting
  },
  Effect.fnUntraced(function* ({ lasting, name, reason, state }) {
    if ((state === "auto") === Option.isSome(lasting)) return yield* new ForceHowLong()
    const { ask } = yield* apiClient
    const now = yield* DateTime.now
    const until = Option.map(lasting, (duration) => DateTime.formatIso(DateTime.addDuration(now, duration)))
    const forced = yield* ask((api) =>
      api.breakers.force({
        params: { name },
        payload: { state, reason, ...(Option.isSome(until) ? { until: until.value } : {}) }
      })
    )
    yield* Printer.answer(
      forced,
      facts([
        ["dependency", forced.dependency],
        ["ordered", forced.state],
        ["until", forced.until === null ? "-" : time(forced.until)],
        ["by", forced.by]
      ])
    )
    yield* Printer.remark("\nEvery process obeys within two seconds; `cribwork breakers list` shows which do.")
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("Order a breaker open or closed for a while"),
  Command.withDescription(
    `Orders the breakers of a dependency open or closed, in all processes, for ${Duration.format(forcedMax)} at most; or gives them back to themselves. Kept in the audit log. Needs the scope ops:admin, which operators' keys hold.`
  ),
  Command.withExamples([
    { command: 'cribwork breakers force psp open --for 10m --reason "the provider asked for quiet"' },
    { command: 'cribwork breakers force psp auto --reason "it is back"' }
  ])
)

export const breakers = Command.make("breakers").pipe(
  Command.withShortDescription("Look at circuit breakers, and overrule them"),
  Command.withDescription(
    "Circuit breakers of all processes, over HTTP: CRIBWORK_URL says where, CRIBWORK_API_KEY who asks."
  ),
  Command.withSubcommands([list, watch, force]),
  Command.withGlobalFlags([Printer.json])
)
