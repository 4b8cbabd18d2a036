/** Many dead letters, a page at a time: each page is one act in the audit log, done or not done as a whole. */
import { Data, Effect } from "effect"

import { Cursor, pageMax } from "../../domain/Cursor.ts"
import type { ApiFailure, Ask } from "./ApiClient.ts"
import { progress } from "./Printer.ts"

/** What became of them, by the ids of dead letters; `missing` as they were given. */
export interface Redriven {
  readonly redriven: ReadonlyArray<string>
  readonly refused: ReadonlyArray<string>
  readonly missing: ReadonlyArray<string>
}

/** Ids, or all: one of the two. */
export class RedriveWhat extends Data.TaggedError("RedriveWhat") {
  override get message(): string {
    return "Redrive what? Name ids, or say --all; --limit goes with --all."
  }
}

/** The answer says which, and it is printed before. */
export class NotAllRedriven extends Data.TaggedError("NotAllRedriven")<Redriven> {
  override get message(): string {
    return this.refused.length > 0
      ? "Some were refused. Look at the provider, then say --after-evidence for those that were not charged."
      : "Some ids name no dead letter."
  }
}

interface How {
  readonly evidence: boolean
  readonly reason: string
}

/** Look-ups under way at once. */
const lookUpsMax = 4

const send = (ask: Ask, ids: readonly [string, ...ReadonlyArray<string>], { evidence, reason }: How) =>
  ask((api) => api.deadLetters.redrive({ payload: { charges: ids, after_evidence: evidence, reason } }))

const sum = (a: Redriven, b: Partial<Redriven>): Redriven => ({
  redriven: [...a.redriven, ...(b.redriven ?? [])],
  refused: [...a.refused, ...(b.refused ?? [])],
  missing: [...a.missing, ...(b.missing ?? [])]
})
const none: Redriven = { redriven: [], refused: [], missing: [] }

const watched = (done: Redriven) => progress(`${done.redriven.length} sent on again, ${done.refused.length} refused …`)

/**
 * All that there are when it starts, newest first. Walked by the list's cursor and not by the server's own
 * "all", whose first page would for ever be those that it refuses.
 */
export const redriveAll = Effect.fnUntraced(function* (ask: Ask, limit: number | undefined, how: How) {
  let done = none
  let left = limit ?? Infinity
  let cursor: Cursor | undefined
  do {
    const query = { limit: Math.min(left, pageMax), ...(cursor === undefined ? {} : { cursor }) }
    const page = yield* ask((api) => api.deadLetters.list({ query }))
    const [first, ...rest] = page.data.map((letter) => letter.id)
    if (first !== undefined) done = sum(done, yield* send(ask, [first, ...rest], how))
    yield* watched(done)
    left -= page.data.length
    cursor = page.next_cursor === null ? undefined : Cursor.make(page.next_cursor)
  } while (cursor !== undefined && left > 0)
  yield* progress("")
  return done
})

/** Each is looked up first, since the server leaves out what it does not find. */
export const redriveSome = Effect.fnUntraced(function* (ask: Ask, given: ReadonlyArray<string>, how: How) {
  let done = none
  for (let at = 0; at < given.length; at += pageMax) {
    const found = yield* Effect.forEach(given.slice(at, at + pageMax), (id) => find(ask, id), {
      concurrency: lookUpsMax
    })
    const [first, ...rest] = new Set(found.flatMap((letter) => ("id" in letter ? [letter.id] : [])))
    done = sum(done, { missing: found.flatMap((letter) => ("missing" in letter ? [letter.missing] : [])) })
    if (first !== undefined) done = sum(done, yield* send(ask, [first, ...rest], how))
    yield* watched(done)
  }
  yield* progress("")
  return done
})

const find = (ask: Ask, id: string) =>
  ask((api) => api.deadLetters.find({ params: { id } })).pipe(
    Effect.map((letter) => ({ id: letter.id })),
    Effect.catchIf(
      (failure: ApiFailure) => failure._tag === "ApiRefused" && failure.problemName === "dead-letter-not-found",
      () => Effect.succeed({ missing: id })
    )
  )
