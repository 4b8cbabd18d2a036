/** What can be read without a key: the contract, for machines and for people, and a page for each problem. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"

import { Metered } from "./Edge.ts"
import { NotFound } from "./Problem.ts"
import { problemNames } from "./ProblemTable.ts"

const html = Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/html" }))

export const PagesApi = HttpApiGroup.make("pages")
  .add(
    HttpApiEndpoint.get("home", "/", { success: HttpApiSchema.Empty(307) }).annotate(
      OpenApi.Summary,
      "Leads to the reference."
    ),
    HttpApiEndpoint.get("openapi", "/openapi.json", { success: Schema.Record(Schema.String, Schema.Json) }).annotate(
      OpenApi.Summary,
      "This document: OpenAPI 3.1."
    ),
    HttpApiEndpoint.get("docs", "/docs", { success: html }).annotate(OpenApi.Summary, "The reference, to read."),
    HttpApiEndpoint.get("problem", "/problems/:name", {
      params: { name: Schema.Literals(problemNames) },
      success: html,
      error: NotFound
    }).annotate(OpenApi.Summary, "What a problem means and what to do about it: the page its `type` names.")
  )
  .middleware(Metered)
