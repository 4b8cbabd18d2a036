/** Answers whose bytes we write ourselves, and pages made of them. */
import { Option } from "effect"
import { HttpServerResponse } from "effect/http"

import { encode, type Page } from "../../domain/Cursor.ts"

export const json = (
  body: string,
  status = 200,
  headers: Readonly<Record<string, string>> = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(body, {
    status,
    contentType: "application/json",
    headers: { "cache-control": "no-store", ...headers }
  })

/** Rows that are JSON already. */
export const listed = (page: Page<string>): HttpServerResponse.HttpServerResponse =>
  json(`{"data":[${page.rows.join(",")}],"next_cursor":${nextOf(page)}}`)

export const nextOf = (page: Page<unknown>): string =>
  Option.match(page.next, { onNone: () => "null", onSome: (after) => `"${encode(after)}"` })
