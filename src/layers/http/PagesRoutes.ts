/** Written once, when the layer is built: a page costs a request nothing but its bytes. */
import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { openApiOf } from "../../domain/api/OpenApiDocument.ts"
import { type ProblemName, problemNames } from "../../domain/api/ProblemTable.ts"
import { docsPage } from "./DocsPage.ts"
import { securityHeaders } from "./Page.ts"
import { problemFacts, problemPage } from "./ProblemPage.ts"

/** Short, since a new version may say something else. */
const cached = { "cache-control": "public, max-age=60" }

const html = (text: string) =>
  HttpServerResponse.text(text, { contentType: "text/html; charset=utf-8", headers: { ...cached, ...securityHeaders } })

const json = (value: unknown, headers = cached) =>
  HttpServerResponse.text(JSON.stringify(value), { contentType: "application/json", headers })

/** A program says that it wants JSON; browsers ask for HTML first. */
const wantsJson = (accept: string | undefined) =>
  accept !== undefined && accept.includes("json") && !accept.includes("text/html")

export const layer = HttpApiBuilder.group(Api, "pages", (handlers) => {
  const document = openApiOf(Api)
  const openapi = json(document, { ...cached, "access-control-allow-origin": "*" } as typeof cached)
  const docs = html(docsPage(document))
  const pages = Object.fromEntries(
    problemNames.map((name) => [name, { page: html(problemPage(name)), facts: json(problemFacts(name)) }])
  ) as { readonly [N in ProblemName]: { readonly page: typeof docs; readonly facts: typeof docs } }
  const home = HttpServerResponse.empty({ status: 307, headers: { location: "/docs" } })
  return handlers.handleAll({
    home: () => Effect.succeed(home),
    openapi: () => Effect.succeed(openapi),
    docs: () => Effect.succeed(docs),
    problem: ({ params, request }) => {
      const { facts, page } = pages[params.name]
      return Effect.succeed(wantsJson(request.headers["accept"]) ? facts : page)
    }
  })
})
