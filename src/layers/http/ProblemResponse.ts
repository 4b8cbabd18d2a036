/** How a problem is written: RFC 9457, the request's id in it, and the headers that follow from its members. */
import type { HttpServerResponse } from "effect/http"
import { HttpServerResponse as Response } from "effect/http"

import { headersOf, type Problem } from "../../domain/api/Problem.ts"
import { type ProblemName, table } from "../../domain/api/ProblemTable.ts"

export const contentType = "application/problem+json"

/** Members as they stand in the table: nothing else of an error, and never its cause, can reach the wire. */
const written = Object.fromEntries(Object.entries(table).map(([name, row]) => [name, Object.keys(row.members)])) as {
  readonly [name: string]: ReadonlyArray<string>
} as Readonly<Record<ProblemName, ReadonlyArray<string>>>

/** The body and its headers, for whoever writes bytes; `toResponse` is for the rest of us. */
export const toWire = (problem: Problem, requestId: string): { body: string; headers: Record<string, string> } => {
  const members = problem as unknown as Readonly<Record<string, unknown>>
  const body: Record<string, unknown> = {
    type: problem.type,
    status: problem.status,
    title: problem.title,
    detail: problem.detail,
    instance: problem.instance,
    request_id: requestId
  }
  for (const member of written[problem._tag]) body[member] = members[member]
  const headers: Record<string, string> = {
    "cache-control": "no-store",
    "x-request-id": requestId,
    ...headersOf(problem)
  }
  const wait = members["retry_after_ms"]
  if (typeof wait === "number") headers["retry-after"] = String(Math.ceil(wait / 1000))
  if (problem.status === 401) headers["www-authenticate"] = `Bearer realm="cribwork"`
  return { body: JSON.stringify(body), headers }
}

export const toResponse = (problem: Problem, requestId: string): HttpServerResponse.HttpServerResponse => {
  const { body, headers } = toWire(problem, requestId)
  return Response.text(body, { status: problem.status, contentType, headers })
}
