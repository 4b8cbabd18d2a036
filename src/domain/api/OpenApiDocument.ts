/**
 * The OpenAPI document of an api, corrected where what `OpenApi.fromApi` writes is not what is on the wire:
 * numbers in queries are numbers, a problem always carries its id, status and title, and headers that every
 * answer of a kind has are listed. Scopes and the security scheme come from our own middleware.
 */
import { Context, Schema } from "effect"
import { HttpApi, type HttpApiEndpoint, type HttpApiGroup, OpenApi } from "effect/http-api"

import { Authenticated, NeededScope } from "./Edge.ts"
import { problemNames, storedOutcomes, table } from "./ProblemTable.ts"

export type Json = { [member: string]: Json } | Array<Json> | string | number | boolean | null
type Members = { [member: string]: Json }

interface Operation {
  parameters: Array<{ name: string; in: string; schema: Members }>
  security: Array<Members>
  responses: { [status: string]: { description: string; headers?: Members } }
  description?: string
  "x-scope"?: string
}

const text = (description: string): Json => ({ schema: { type: "string" }, description, required: true })

const requestId = text("Names this request in our logs: yours if you sent a sane one, else made.")
const retryAfter: Json = {
  schema: { type: "integer", minimum: 0 },
  description: "Seconds until the same request may pass, rounded up."
}
const challenge = text("`Bearer`: how to authenticate.")

/** `fromApi` names the wire's form of a class `<name>Encoded`; the wire is all a reader of the document sees. */
const wireNames = (document: Members): Members => {
  const written = JSON.stringify(document)
  const names = Object.keys((document["components"] as { schemas: Members }).schemas)
  const renamed = names
    .filter((name) => name.endsWith("Encoded") && !names.includes(name.slice(0, -"Encoded".length)))
    .reduce(
      (rest, name) =>
        rest
          .replaceAll(`"#/components/schemas/${name}"`, `"#/components/schemas/${name.slice(0, -"Encoded".length)}"`)
          .replaceAll(`"${name}":`, `"${name.slice(0, -"Encoded".length)}":`),
      written
    )
  return JSON.parse(renamed) as Members
}

/** Clients ignore what is new in a problem, so its schema allows it; what is always there is required. */
const problems = (schemas: { [name: string]: Members }) => {
  for (const name of problemNames) {
    const schema = schemas[name]
    if (schema === undefined) continue
    const required = (schema["required"] ?? []) as Array<string>
    const named = storedOutcomes.has(name) ? [] : ["request_id"]
    schema["required"] = [...new Set(["type", "status", "title", ...named, ...required])]
    schema["additionalProperties"] = true
    schema["description"] = table[name].doc
    ;(schema["properties"] as { status: Members }).status["type"] = "integer"
  }
}

const primitive = new Set<Json | undefined>(["integer", "number", "boolean"])

/** What parameters mean, by name, where that is not a text. */
const meanings = (schema: Schema.Top | undefined): Members => {
  if (schema === undefined) return {}
  const { schema: root } = Schema.toJsonSchemaDocument(Schema.toType(schema))
  return (root as { properties?: Members }).properties ?? {}
}

const parameters = (operation: Operation, endpoint: HttpApiEndpoint.Top) => {
  const typed: { [place: string]: Members } = {
    query: meanings(endpoint.query),
    path: meanings(endpoint.params),
    header: meanings(endpoint.headers)
  }
  for (const parameter of operation.parameters) {
    const meant = typed[parameter.in]?.[parameter.name] as Members | undefined
    if (meant !== undefined && primitive.has(meant["type"])) parameter.schema = { ...parameter.schema, ...meant }
  }
}

const access = (operation: Operation, endpoint: HttpApiEndpoint.Top) => {
  const isGuarded = [...endpoint.middlewares].some((middleware) => middleware.key === Authenticated.key)
  operation.security = isGuarded ? [{ bearer: [] }] : []
  const scope = Context.get(endpoint.annotations, NeededScope)
  if (isGuarded && scope !== undefined) {
    operation["x-scope"] = scope
    operation.description = [operation.description, `Needs the scope \`${scope}\`.`].filter(Boolean).join("\n\n")
  }
}

const headers = ({ responses }: Operation) => {
  for (const [status, response] of Object.entries(responses)) {
    response.headers = {
      ...response.headers,
      "x-request-id": requestId,
      ...(status === "429" || status === "503" ? { "retry-after": retryAfter } : {}),
      ...(status === "401" ? { "www-authenticate": challenge } : {})
    }
  }
}

export const openApiOf = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>
): Members => {
  const document = wireNames(OpenApi.fromApi(api) as unknown as Members)
  const components = document["components"] as { schemas: { [name: string]: Members }; securitySchemes: Members }
  components.securitySchemes["bearer"] = { type: "http", scheme: "bearer", description: "An API key." }
  problems(components.schemas)
  const paths = document["paths"] as unknown as { [path: string]: { [method: string]: Operation } }
  HttpApi.reflect(api, {
    onGroup: () => undefined,
    onEndpoint: ({ endpoint }) => {
      const operation = paths[endpoint.path.replace(/:(\w+)/g, "{$1}")]?.[endpoint.method.toLowerCase()]
      if (operation === undefined) return
      parameters(operation, endpoint)
      access(operation, endpoint)
      headers(operation)
    }
  })
  return document
}
