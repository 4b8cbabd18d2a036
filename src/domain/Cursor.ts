/** Keyset pages: a cursor names the last row seen, so that pages neither skip nor repeat while rows arrive. */
import { Option, Schema } from "effect"

/** Opaque to callers. */
export const Cursor = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,512}$/)),
  Schema.brand("Cursor")
)
export type Cursor = typeof Cursor.Type

/** Rows of one page, at most. */
export const pageMax = 100

export interface PageRequest {
  readonly limit: number
  /** The last row of the page before. */
  readonly after: Option.Option<string>
}

export interface Page<A> {
  readonly rows: ReadonlyArray<A>
  /** The last row of this page, if there are more. */
  readonly next: Option.Option<string>
}

export const encode = (after: string): Cursor => Cursor.make(Buffer.from(after, "utf8").toString("base64url"))

/** `None` when the text is no cursor of ours: `isRow` tells what a row's name looks like. */
export const decode = (cursor: Cursor, isRow: (text: string) => boolean): Option.Option<string> =>
  Option.some(Buffer.from(cursor, "base64url").toString("utf8")).pipe(Option.filter(isRow))

/** Cuts a page out of one row more than was asked for. */
export const page = <A>(rows: ReadonlyArray<A>, limit: number, name: (row: A) => string): Page<A> => {
  const last = rows.length > limit ? rows[limit - 1] : undefined
  return {
    rows: rows.slice(0, limit),
    next: last === undefined ? Option.none() : Option.some(name(last))
  }
}
