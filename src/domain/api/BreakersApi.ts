/**
 * The breakers of every process, and operators' orders about them. The list has the shape of all lists but is
 * always whole: what it shows changes by the second, so that the second page of one moment would be of another.
 */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { ReportedState, reportsListedMax } from "../breakers/BreakerReports.ts"
import { Forced } from "../breakers/Breakers.ts"
import { Authenticated, Bodied, NeededScope } from "./Edge.ts"
import * as Problem from "./Problem.ts"

const reasonMax = 500

export const BreakerOrder = Schema.Struct({
  dependency: Schema.String,
  state: Schema.Literals(["open", "closed"]),
  reason: Schema.String,
  until: Schema.String,
  by: Schema.String.annotate({ description: "The id of the key it was ordered with." })
}).annotate({ identifier: "BreakerOrder" })

const millis = (description: string) => Schema.Int.annotate({ description })
const rate = (of: string) =>
  Schema.NullOr(
    Schema.Finite.annotate({ description: `Share of calls that ${of}, from 0 to 1; null where none is counted.` })
  )

export const Breaker = Schema.Struct({
  dependency: Schema.String,
  kind: Schema.String.annotate({ description: "What it is: `http`, `postgres`, `redis`, `kafka`." }),
  process: Schema.String.annotate({ description: "Host, process id and a draw: another one after each start." }),
  program: Schema.String.annotate({ description: "What the process runs: `api`, `worker`, `relay`, `suite`." }),
  state: ReportedState,
  since_ms: millis("How long it has been in this state."),
  retry_after_ms: millis("After this long a call may be let through; 0 where one would be now."),
  in_flight: Schema.Int.annotate({ description: "Calls that have not been answered." }),
  failures_in_row: Schema.Int.annotate({ description: "Failures since the last success." }),
  failure_rate: rate("failed"),
  slow_rate: rate("were slow"),
  admitted: Schema.Finite.annotate({
    description: "Share of calls that are let through; less than 1 while traffic comes back after a close."
  }),
  force: Schema.NullOr(BreakerOrder).annotate({
    description: "What is ordered of this dependency, in every process; `state` says that this one obeys."
  }),
  seen_ms_ago: millis("When its process last told of it.")
}).annotate({ identifier: "Breaker" })

export const BreakerList = Schema.Struct({
  data: Schema.Array(Breaker).annotate({
    description: "Where to look first: open ones with no open one below them. A row a dependency and process."
  }),
  next_cursor: Schema.Null.annotate({ description: "The list is whole." }),
  forces: Schema.Array(BreakerOrder).annotate({
    description: "All orders that hold, also of dependencies that no living process has."
  })
}).annotate({ identifier: "BreakerList" })

export const ForceBreaker = Schema.Struct({
  state: Forced.annotate({ description: "`open` lets nothing through, `closed` all; `auto` gives it back to itself." }),
  reason: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(reasonMax)).annotate({
    description: "Kept in the audit log."
  }),
  until: Schema.optionalKey(
    Schema.String.annotate({
      description:
        "RFC 3339, at most 24 hours ahead. Needed for `open` and `closed`, which end then by themselves; not taken with `auto`."
    })
  )
}).annotate({ identifier: "ForceBreaker" })

export const ForcedBreaker = Schema.Struct({
  dependency: Schema.String,
  state: Forced,
  reason: Schema.String,
  until: Schema.NullOr(Schema.String),
  by: Schema.String
}).annotate({ identifier: "ForcedBreaker" })

const list = HttpApiEndpoint.get("list", "/v1/breakers", { success: BreakerList })
  .annotate(NeededScope, "ops:read")
  .annotate(OpenApi.Summary, "The breakers of all processes, those in trouble first.")
  .annotate(OpenApi.Description, `At most ${reportsListedMax} rows. A process that was silent for 15 s is left out.`)

const force = HttpApiEndpoint.post("force", "/v1/breakers/:name/force", {
  params: { name: Schema.String },
  payload: ForceBreaker,
  success: ForcedBreaker,
  error: [Problem.InvalidRequest, Problem.BreakerNotFound]
})
  .middleware(Bodied)
  .annotate(NeededScope, "ops:admin")
  .annotate(OpenApi.Summary, "Orders a breaker open or closed for a while, or gives it back to itself.")
  .annotate(OpenApi.Description, "Obeyed by every process within two seconds, and by those that start later.")

export const BreakersApi = HttpApiGroup.make("breakers").add(list, force).middleware(Authenticated)
