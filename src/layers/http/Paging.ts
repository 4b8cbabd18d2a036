/** Turns what a list's query says into a page to ask for. */
import { Effect, Option } from "effect"

import { pageDefault } from "../../domain/api/Paging.ts"
import { InvalidRequest } from "../../domain/api/Problem.ts"
import { type Cursor, decode, type PageRequest } from "../../domain/Cursor.ts"

export const isUuid = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)

export const pageOf = (query: {
  readonly limit?: number
  readonly cursor?: Cursor
}): Effect.Effect<PageRequest, InvalidRequest> => {
  const limit = query.limit ?? pageDefault
  if (query.cursor === undefined) return Effect.succeed({ limit, after: Option.none() })
  const after = decode(query.cursor, isUuid)
  return Option.isSome(after)
    ? Effect.succeed({ limit, after })
    : Effect.fail(
        new InvalidRequest({ errors: [{ in: "query", pointer: "/cursor", detail: "Not a cursor of this list." }] })
      )
}
