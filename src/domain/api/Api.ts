/**
 * The wire, whole. Handlers, typed clients, the document and the list of methods a path has are all made from
 * this value. A group of its own file is added here and nowhere else; `Edge` comes last, to be outermost.
 */
import { Context } from "effect"
import { HttpApi, OpenApi } from "effect/http-api"

import { AccountsApi } from "./AccountsApi.ts"
import { BreakersApi } from "./BreakersApi.ts"
import { ChargesApi } from "./ChargesApi.ts"
import { DeadLettersApi } from "./DeadLettersApi.ts"
import { Edge } from "./Edge.ts"
import { HealthApi } from "./HealthApi.ts"
import { LimitsApi } from "./LimitsApi.ts"
import { OpsApi } from "./OpsApi.ts"
import { PagesApi } from "./PagesApi.ts"
import { PoliciesApi } from "./PoliciesApi.ts"
import { SourcesApi } from "./SourcesApi.ts"

/**
 * How strict schemas are: all mistakes are named, not the first one; and a member of a body that nobody knows
 * is a mistake, since a misspelt `captur: false` must not charge.
 */
export const strictness = Context.make(HttpApi.ParseOptions, { errors: "all" }).pipe(
  Context.add(HttpApi.PayloadParseOptions, { errors: "all", onExcessProperty: "error" })
)

export class Api extends HttpApi.make("cribwork")
  .add(HealthApi)
  .add(PagesApi)
  .add(OpsApi)
  .add(ChargesApi)
  .add(SourcesApi)
  .add(AccountsApi)
  .add(DeadLettersApi)
  .add(BreakersApi)
  .add(LimitsApi)
  .add(PoliciesApi)
  .middleware(Edge)
  .annotateMerge(strictness)
  .annotate(OpenApi.Title, "Cribwork")
  .annotate(OpenApi.Version, "1")
  .annotate(
    OpenApi.Description,
    "Every failure is an RFC 9457 problem whose `type` is a page here. Amounts are in minor units, times RFC 3339 in UTC, ids opaque."
  ) {}
