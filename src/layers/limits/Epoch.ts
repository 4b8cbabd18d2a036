/** One life of one server and its clock, as this process knows it; see `Epochs` for how it comes to. */
import type { Deferred } from "effect"

import { reserved } from "../../domain/limits/Fleet.ts"
import type { Policy } from "../../domain/limits/Policy.ts"
import type { RedisError } from "../platform/Redis.ts"

/**
 * An instance that has not told what it admitted, until when it can have, and its place among those that
 * shared the limits; one that had left before had none, and what it admitted only matters to the strict.
 */
interface Missing {
  readonly until: number
  readonly rank: number | undefined
}

export class Epoch {
  readonly tag: string
  readonly key: string
  /** What it is called; undefined until this process has told it everything it must know. */
  known: string | undefined = undefined
  /** What it was called when last told: the same again lost nothing. */
  told: string | undefined = undefined
  /** Everything was told, so that only what is owed is new. */
  complete = false
  since = 0
  /** Its clock was put forward, so what it was told is dated too early. */
  stepped = false
  /** Whose spending it has not heard of. */
  missing: ReadonlyArray<Missing> = []
  /** Among how many the limits were shared. */
  size = 1
  telling: Deferred.Deferred<void, RedisError> | undefined = undefined

  constructor(tag: string) {
    this.tag = tag
    this.key = `${tag}:.epoch` // No policy has such a name.
  }

  /** What a policy may admit at `now` of the server's clock; undefined when it must not guess. */
  limitOf(policy: Policy, now: number): number | undefined {
    if (this.missing.length === 0 || policy.outage === "open") return policy.limit
    const missing = this.missing.filter(({ until }) => now < until + policy.windowMicros)
    if (missing.length === 0) return policy.limit
    if (policy.outage === "strict") return undefined
    const ranks = missing.flatMap(({ rank }) => (rank === undefined ? [] : [rank]))
    return Math.max(0, policy.limit - reserved(policy.limit, this.size, ranks))
  }
}
