/** How lists are asked for and answered, on every route that has one. */
import { Schema } from "effect"

import { Cursor, pageMax } from "../Cursor.ts"

/** Rows of a page when nobody says how many. */
export const pageDefault = 20

export const pageQuery = {
  limit: Schema.optionalKey(
    Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: pageMax }))).annotate({
      description: `Rows of the page, 1 to ${pageMax}; ${pageDefault} when left out.`
    })
  ),
  cursor: Schema.optionalKey(Cursor.annotate({ description: "The `next_cursor` of the page before." }))
}

export const listOf = <Row extends Schema.Top>(row: Row) =>
  Schema.Struct({ data: Schema.Array(row), next_cursor: Schema.NullOr(Schema.String) })
