/** `/v1/limits/policies`: the policies that services may ask for, read and replaced as one document. */
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

import { PolicyDocument } from "../limits/PolicyDocument.ts"
import { Authenticated, Bodied, NeededScope } from "./Edge.ts"
import * as Problem from "./Problem.ts"

const reasonMax = 500

export const LimitsPolicies = Schema.Struct({
  version: Schema.Int.annotate({ description: "Grows by one with every document; 0 before the first." }),
  ...PolicyDocument.fields
}).annotate({ identifier: "LimitsPolicies" })

export const ReplacePolicies = Schema.Struct({
  reason: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(reasonMax)).annotate({
    description: "Kept in the audit log."
  }),
  ...PolicyDocument.fields
}).annotate({ identifier: "ReplacePolicies" })

interface Operation {
  readonly parameters: ReadonlyArray<{ readonly name: string; required: boolean }>
  readonly responses: { readonly [status: string]: { headers?: Record<string, unknown> } }
}

const etag = { schema: { type: "string" }, description: "The version, to send back as `If-Match`.", required: true }

/** `If-Match` is required, and optional to the schema, so that a missing one is the problem it is. */
const contract = (given: Record<string, unknown>): Record<string, unknown> => {
  const { parameters, responses } = given as Partial<Record<string, unknown>> & Operation
  for (const parameter of parameters) if (parameter.name === "if-match") parameter.required = true
  const ok = responses["200"]
  if (ok !== undefined) ok.headers = { etag }
  return given
}

const read = HttpApiEndpoint.get("read", "/v1/limits/policies", { success: LimitsPolicies })
  .annotate(NeededScope, "limits:admin")
  .annotate(OpenApi.Summary, "The policies that services may ask for, beside those of the house's own plans.")
  .annotate(OpenApi.Transform, contract)

const replace = HttpApiEndpoint.put("replace", "/v1/limits/policies", {
  headers: {
    "if-match": Schema.optionalKey(
      Schema.String.annotate({ description: "The `ETag` of the document that this one was made from." })
    )
  },
  payload: ReplacePolicies,
  success: LimitsPolicies,
  error: [Problem.InvalidRequest, Problem.PreconditionRequired, Problem.PreconditionFailed]
})
  .middleware(Bodied)
  .annotate(NeededScope, "limits:admin")
  .annotate(OpenApi.Summary, "Puts another document in the place of the one that holds.")
  .annotate(OpenApi.Description, "Obeyed by every process within two seconds, by the next decision.")
  .annotate(OpenApi.Transform, contract)

export const PoliciesApi = HttpApiGroup.make("policies").add(read, replace).middleware(Authenticated)
