/** Names requests. An id that the client sent is kept if it is sane, so that its logs and ours can be joined. */
import type { IncomingHttpHeaders } from "node:http"

import { Effect } from "effect"
import { SecureRandom } from "effect/crypto"

import { Origin } from "../platform/Origin.ts"

const sane = /^[A-Za-z0-9._-]{1,64}$/

const hex = (number: number, width: number) => number.toString(16).padStart(width, "0").slice(-width)

/** What a request is known by: its id always, its trace when somebody asks. */
export interface Arrival extends Origin {
  readonly requestId: string
}

export interface Arrivals {
  readonly next: (headers: IncomingHttpHeaders) => Arrival
  /** For what never became a request. */
  readonly id: () => string
}

/**
 * Ids are a prefix drawn at the start and a number: unique like a random one, and a hundred times cheaper.
 * They are names and not secrets, so that it does no harm that the next can be guessed.
 */
export const make: Effect.Effect<Arrivals, never, SecureRandom.SecureRandom> = Effect.gen(function* () {
  const random = yield* SecureRandom.SecureRandom
  const drawn = (yield* random.uuidV4()).replaceAll("-", "")
  let count = 0
  const id = () => {
    count += 1
    return `${drawn.slice(0, 12)}-${count.toString(36)}`
  }
  const next = (headers: IncomingHttpHeaders) => {
    const own = id()
    const number = count
    const given = headers["x-request-id"]
    const trace = headers["traceparent"]
    return new Origin(
      typeof given === "string" && sane.test(given) ? given : own,
      typeof trace === "string" ? trace : undefined,
      () => `00-${drawn.slice(0, 20)}${hex(number, 12)}-${drawn.slice(20, 28)}${hex(number, 8)}-00`
    ) as Arrival
  }
  return { next, id }
})
