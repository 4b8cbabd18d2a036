import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { PrometheusMetrics } from "effect/observability"

import { Api } from "../../domain/api/Api.ts"

export const layer = HttpApiBuilder.group(Api, "ops", (handlers) =>
  handlers.handle("metrics", () =>
    Effect.map(PrometheusMetrics.format(), (text) =>
      HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4; charset=utf-8" })
    )
  )
)
