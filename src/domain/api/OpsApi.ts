/** For whoever watches the house. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"

import { Authenticated, NeededScope } from "./Edge.ts"

export const OpsApi = HttpApiGroup.make("ops")
  .add(
    HttpApiEndpoint.get("metrics", "/metrics", {
      success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain" }))
    })
      .annotate(NeededScope, "ops:read")
      .annotate(OpenApi.Summary, "Everything that is counted, as Prometheus text.")
  )
  .middleware(Authenticated)
