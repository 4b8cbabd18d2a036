/**
 * The caller's name for one intent: the same key is the same charge, however often it is sent. Read as the
 * Idempotency-Key draft says (an RFC 8941 string), or bare, as everybody sends it.
 */
import { Result, Schema } from "effect"

const v4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/**
 * A lower-case UUID version 4. Lower case only: Postgres would take two spellings for one key, Redis for
 * two.
 */
export const IdempotencyKey = Schema.String.pipe(Schema.check(Schema.isPattern(v4)), Schema.brand("IdempotencyKey"))
export type IdempotencyKey = typeof IdempotencyKey.Type

/** There is no key. */
export class KeyMissing extends Schema.TaggedError<KeyMissing>()("KeyMissing", {}) {}

/** There is something, but not one key we can take. */
export class KeyInvalid extends Schema.TaggedError<KeyInvalid>()("KeyInvalid", { why: Schema.String }) {}

/** Reads the header's one field line, quoted or bare. */
export const parse = (header: string | undefined): Result.Result<IdempotencyKey, KeyMissing | KeyInvalid> => {
  if (header === undefined || header.trim() === "") return Result.fail(new KeyMissing())
  const line = header.trim()
  if (line.length > 64) return Result.fail(new KeyInvalid({ why: "longer than 64 characters" }))
  if (line.includes(",")) return Result.fail(new KeyInvalid({ why: "more than one key" }))
  const bare = line.startsWith('"') && line.endsWith('"') && line.length > 1 ? line.slice(1, -1) : line
  return v4.test(bare)
    ? Result.succeed(IdempotencyKey.make(bare))
    : Result.fail(new KeyInvalid({ why: "not a lower-case UUID version 4" }))
}
