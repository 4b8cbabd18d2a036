/** Means of payment on the wire: what people recognise them by. The one answer of the house that may be old. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { Calls } from "./Calls.ts"
import { Authenticated, NeededScope, SecretParams } from "./Edge.ts"
import * as Problem from "./Problem.ts"

export const Source = Schema.Struct({
  brand: Schema.String,
  last4: Schema.String.annotate({ description: "The last four digits." }),
  exp_month: Schema.Int,
  exp_year: Schema.Int,
  stale: Schema.Boolean.annotate({
    description: "True: the provider did not answer, and this is what it last said. Good enough to show, and no more."
  }),
  age_ms: Schema.Int.annotate({ description: "How long ago the provider said it; 0 when it said so now." })
}).annotate({ identifier: "Source" })

const find = HttpApiEndpoint.get("find", "/v1/sources/:token", {
  params: { token: Schema.String },
  success: Source,
  error: [Problem.SourceNotFound]
})
  .annotate(NeededScope, "charges:read")
  .annotate(SecretParams, ["token"])
  .annotate(Calls, [{ dependency: "psp", attempts: 1 }])
  .annotate(OpenApi.Summary, "Brand, last digits and expiry of a source, for a person to recognise it by.")
  .annotate(
    OpenApi.Description,
    "Asks the provider. When it does not answer, or not within a second, what it last said is told, as `stale`, for a day at most."
  )

export const SourcesApi = HttpApiGroup.make("sources").add(find).middleware(Authenticated)
