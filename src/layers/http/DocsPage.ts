/**
 * The reference, written from the document when the server starts. Scalar's page in the effect package loads
 * its fonts and its proxy from its own hosts and weighs 3 MB; this one is one file without a script.
 */
import type { Json } from "../../domain/api/OpenApiDocument.ts"
import { problemNames, table } from "../../domain/api/ProblemTable.ts"
import { escape, page, prose } from "./Page.ts"

type Members = { readonly [member: string]: Json }

interface Parameter {
  readonly name: string
  readonly in: string
  readonly required: boolean
  readonly schema: Members
}

interface Operation {
  readonly operationId: string
  readonly tags: ReadonlyArray<string>
  readonly summary?: string
  readonly description?: string
  readonly security: ReadonlyArray<Members>
  readonly parameters: ReadonlyArray<Parameter>
  readonly requestBody?: { readonly content: { readonly [type: string]: { readonly schema: Members } } }
  readonly responses: {
    readonly [status: string]: {
      readonly description: string
      readonly content?: { readonly [type: string]: { readonly schema: Members } }
    }
  }
}

interface Document {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } }
  readonly components: { readonly schemas: Members }
}

const isProblem = (name: string): name is keyof typeof table => Object.hasOwn(table, name)

const referenced = (schema: Members): string | undefined => {
  const ref = schema["$ref"]
  return typeof ref === "string" ? ref.slice(ref.lastIndexOf("/") + 1) : undefined
}

/** The schemas that a response may have: one, or those of a union. */
const alternatives = (schema: Members): ReadonlyArray<Members> =>
  Array.isArray(schema["anyOf"]) ? (schema["anyOf"] as ReadonlyArray<Members>) : [schema]

const named = (schema: Members): string =>
  alternatives(schema)
    .map((one) => {
      const name = referenced(one)
      if (name === undefined) return `<pre>${escape(JSON.stringify(one, null, 2))}</pre>`
      return isProblem(name)
        ? `<a href="/problems/${name}"><code>${name}</code></a>`
        : `<a href="#schema-${escape(name)}"><code>${escape(name)}</code></a>`
    })
    .join(" · ")

const bodies = (content: { readonly [type: string]: { readonly schema: Members } } | undefined) =>
  Object.entries(content ?? {})
    .map(([type, { schema }]) => `<code class="quiet">${escape(type)}</code> ${named(schema)}`)
    .join("<br>")

const parameterRow = ({ name, in: place, required, schema }: Parameter) =>
  `<tr><td><code>${escape(name)}</code></td><td>${place}${required ? ", required" : ""}</td>` +
  `<td>${prose(typeof schema["description"] === "string" ? schema["description"] : "")} <code>${escape(JSON.stringify({ ...schema, description: undefined }))}</code></td></tr>`

const operation = (path: string, method: string, one: Operation): string =>
  [
    `<h3 id="${escape(one.operationId)}"><span class="method">${method.toUpperCase()}</span> <code>${escape(path)}</code></h3>`,
    `<p>${prose(one.summary ?? "")}</p>`,
    one.description === undefined ? "" : `<p>${prose(one.description)}</p>`,
    one.security.length === 0 ? `<p class="quiet">No key needed.</p>` : "",
    one.parameters.length === 0 ? "" : `<table>${one.parameters.map(parameterRow).join("")}</table>`,
    one.requestBody === undefined ? "" : `<p>Body: ${bodies(one.requestBody.content)}</p>`,
    `<table>${Object.entries(one.responses)
      .map(([status, { content }]) => `<tr><td><code>${status}</code></td><td>${bodies(content)}</td></tr>`)
      .join("")}</table>`
  ].join("")

export const docsPage = (written: Members): string => {
  const { info, paths, components } = written as unknown as Document
  const groups = new Map<string, Array<string>>()
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const group = one.tags[0] ?? ""
      groups.set(group, [...(groups.get(group) ?? []), operation(path, method, one)])
    }
  }
  const schemas = Object.entries(components.schemas).filter(([name]) => !isProblem(name))
  return page(
    info.title,
    [
      `<h1>${escape(info.title)} <span class="quiet">v${escape(info.version)}</span></h1><p>${prose(info.description ?? "")}</p>`,
      `<p><a href="/openapi.json">openapi.json</a> · <a href="#problems">problems</a> · send your key as <code>Authorization: Bearer &lt;key&gt;</code></p>`,
      ...[...groups].map(([group, operations]) => `<h2>${escape(group)}</h2>${operations.join("")}`),
      `<h2 id="schemas">Schemas</h2>`,
      ...schemas.map(
        ([name, schema]) =>
          `<h3 id="schema-${escape(name)}">${escape(name)}</h3><pre>${escape(JSON.stringify(schema, null, 2))}</pre>`
      ),
      `<h2 id="problems">Problems</h2><table>`,
      ...problemNames.map(
        (name) =>
          `<tr><td><code>${table[name].status}</code></td><td><a href="/problems/${name}"><code>${name}</code></a></td><td>${prose(table[name].title)}</td></tr>`
      ),
      `</table>`
    ].join("")
  )
}
