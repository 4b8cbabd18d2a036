/** Holds an answer against the OpenAPI document that promises it. */
import { assert } from "@effect/vitest"

import { Api } from "../../src/domain/api/Api.ts"
import { openApiOf } from "../../src/domain/api/OpenApiDocument.ts"
import type { Answer } from "./Trial.ts"

interface Schema {
  readonly type?: string
  readonly $ref?: string
  readonly anyOf?: ReadonlyArray<Schema>
  readonly enum?: ReadonlyArray<unknown>
  readonly required?: ReadonlyArray<string>
  readonly properties?: Record<string, Schema>
  readonly items?: Schema
  readonly additionalProperties?: boolean
  readonly minimum?: number
  readonly maximum?: number
}

interface Response {
  readonly content?: Record<string, { readonly schema: Schema }>
  readonly headers: Record<string, { readonly required?: boolean }>
}

interface Operation {
  readonly security: ReadonlyArray<unknown>
  readonly "x-scope"?: string
  readonly parameters: ReadonlyArray<{ readonly name: string; readonly schema: Schema; readonly required: boolean }>
  readonly responses: Record<string, Response>
}

export interface Document {
  readonly openapi: string
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, Schema>; readonly securitySchemes: object }
}

/** The house's own. */
export const house = openApiOf(Api) as unknown as Document

const named = (document: Document, schema: Schema): Schema =>
  schema.$ref === undefined ? schema : (document.components.schemas[schema.$ref.split("/").at(-1) ?? ""] ?? {})

/** As much of JSON Schema as our documents use. */
export const fits = (document: Document, given: Schema, value: unknown): boolean => {
  const schema = named(document, given)
  if (schema.anyOf !== undefined) return schema.anyOf.some((one) => fits(document, one, value))
  if (schema.enum !== undefined && !schema.enum.includes(value)) return false
  if (schema.type === "integer" && !Number.isInteger(value)) return false
  if (schema.type === "string" && typeof value !== "string") return false
  if (schema.type === "array") {
    return Array.isArray(value) && value.every((one) => fits(document, schema.items ?? {}, one))
  }
  if (schema.type !== "object") return true
  if (typeof value !== "object" || value === null) return false
  const members = Object.entries(value)
  return (
    (schema.required ?? []).every((member) => Object.hasOwn(value, member)) &&
    members.every(([member, one]) => {
      const known = schema.properties?.[member]
      return known === undefined ? schema.additionalProperties !== false : fits(document, known, one)
    })
  )
}

/** Status, media type, body and headers are as `document` says of that operation; `where` is for whoever reads a failure. */
export const conforms = (document: Document, method: string, path: string, answer: Answer): void => {
  const where = `${method} ${path} ${answer.status}`
  const { content, headers: promised } = document.paths[path]?.[method]?.responses[answer.status] ?? {}
  const type = answer.headers.get("content-type")?.split(";")[0] ?? ""
  const schema = content?.[type]?.schema
  assert.isDefined(schema, `${where} ${type}`)
  assert.isTrue(fits(document, schema ?? {}, answer.body), `${where}: ${answer.text}`)
  for (const [header, { required }] of Object.entries(promised ?? {})) {
    if (required === true) assert.isTrue(answer.headers.has(header), `${where} ${header}`)
  }
}

/** The path of the document that a request's path is of. */
export const templateOf = (document: Document, path: string): string => {
  const bare = path.split("?")[0] ?? path
  const exact = Object.keys(document.paths).find((template) => template === bare)
  const found = Object.keys(document.paths).find((template) =>
    new RegExp(`^${template.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(bare)
  )
  return exact ?? found ?? bare
}
