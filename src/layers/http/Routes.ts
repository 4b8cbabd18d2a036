/** The contract with everything that answers it. A new group's handlers are merged here. */
import { Layer } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import * as AccountsRoutes from "./AccountsRoutes.ts"
import * as Authentication from "./Authentication.ts"
import * as BreakersRoutes from "./BreakersRoutes.ts"
import * as ChargesRoutes from "./ChargesRoutes.ts"
import * as DeadLettersRoutes from "./DeadLettersRoutes.ts"
import * as EdgeProblems from "./EdgeProblems.ts"
import * as HealthRoutes from "./HealthRoutes.ts"
import * as LimitsRoutes from "./LimitsRoutes.ts"
import * as OpsRoutes from "./OpsRoutes.ts"
import * as PagesRoutes from "./PagesRoutes.ts"
import * as PoliciesRoutes from "./PoliciesRoutes.ts"
import * as Server from "./Server.ts"
import * as SourcesRoutes from "./SourcesRoutes.ts"

const handlers = Layer.mergeAll(
  HealthRoutes.layer,
  PagesRoutes.layer,
  OpsRoutes.layer,
  ChargesRoutes.layer,
  SourcesRoutes.layer,
  AccountsRoutes.layer,
  DeadLettersRoutes.layer,
  BreakersRoutes.layer,
  LimitsRoutes.layer,
  PoliciesRoutes.layer
)

const routes = HttpApiBuilder.layer(Api).pipe(
  Layer.provide(handlers),
  Layer.provide([Authentication.layer, EdgeProblems.layer])
)

export const layer = Server.layer(Api, routes)
