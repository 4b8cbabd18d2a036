/** For whoever keeps the process running: is it alive, and may it be sent requests? */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { Metered } from "./Edge.ts"
import { NotReady } from "./Problem.ts"
import { Dependency } from "./ProblemTable.ts"

export const HealthApi = HttpApiGroup.make("health")
  .add(
    HttpApiEndpoint.get("live", "/health/live", {
      success: Schema.Struct({ status: Schema.Literal("live") })
    }).annotate(OpenApi.Summary, "The process answers. Asks nothing else."),
    HttpApiEndpoint.get("ready", "/health/ready", {
      success: Schema.Struct({ status: Schema.Literal("ready"), dependencies: Schema.Array(Dependency) }),
      error: NotReady
    }).annotate(OpenApi.Summary, "Everything that requests need answers too; if not, says which does not.")
  )
  .middleware(Metered)
