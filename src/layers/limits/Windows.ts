/**
 * Sliding windows of many keys, decided synchronously in this process: the whole of `MemoryLimiter`, and the
 * shadow that `RedisLimiter` falls back to. Exact as long as no active key is dropped.
 *
 * A key without live units says nothing, so it is forgotten as soon as a neighbour is charged; there are no
 * timers. When `keysMax` or `stampsMax` is passed, the key that has been idle longest goes, and only when
 * none is idle the one nearest to it, whose quota then starts afresh.
 */
import { hash } from "node:crypto"

import { Exit } from "effect"
import type { Array as Arr, Clock } from "effect"

import { fromMicros, impossible, LimiterError, Quota, RateLimited } from "../../domain/limits/Limiter.ts"
import type { Ask, Grant, Source } from "../../domain/limits/Limiter.ts"
import type { Policy, PolicyName } from "../../domain/limits/Policy.ts"
import { Ring } from "./Ring.ts"

/** Bounds of what is remembered. */
export interface WindowsBounds {
  readonly keysMax: number
  /** Stamps of all keys together, eight bytes each. */
  readonly stampsMax: number
}

/** About 40 MB of keys and at most 128 MB of stamps. */
export const windowsBounds: WindowsBounds = { keysMax: 100_000, stampsMax: 16_777_216 }

/** Longer segments are kept as a digest, so that nobody fills the process with the names of keys. */
const segmentMax = 128

/** A key, and its place in the order of last charge among the keys of an equal window. */
class Entry {
  readonly text: string
  readonly ring = new Ring()
  queue: Queue | undefined = undefined
  older: Entry | undefined = undefined
  newer: Entry | undefined = undefined
  /** The ask that charged it last: a key named twice in one ask is charged once. */
  round = 0

  constructor(text: string) {
    this.text = text
  }
}

/** With equal windows, the order of last charge is the order in which keys fall idle. */
class Queue {
  readonly window: number
  oldest: Entry | undefined = undefined
  newest: Entry | undefined = undefined

  constructor(window: number) {
    this.window = window
  }

  remove(entry: Entry): void {
    if (entry.older === undefined) this.oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === undefined) this.newest = entry.older
    else entry.newer.older = entry.older
    entry.queue = entry.older = entry.newer = undefined
  }

  append(entry: Entry): void {
    entry.queue = this
    entry.older = this.newest
    if (this.newest === undefined) this.oldest = entry
    else this.newest.newer = entry
    this.newest = entry
  }
}

/** Lengths in front make it injective whatever the segments hold, at a third of the price of escaping. */
const textOf = (policy: Policy, key: ReadonlyArray<string>): string => {
  let text: string = policy.name
  for (const segment of key) {
    text +=
      segment.length > segmentMax
        ? `#${hash("sha256", Buffer.from(segment, "utf16le"), "base64url")}`
        : `|${segment.length}:${segment}`
  }
  return text
}

export class Windows {
  readonly #source: Source
  readonly #bounds: WindowsBounds
  readonly #entries = new Map<string, Entry>()
  readonly #queues: Array<Queue> = [] // One a distinct window, so a handful.
  #stamps = 0
  #round = 0
  // Scratch of the one decision that runs; decisions are synchronous, so there is never a second.
  readonly #texts: Array<string> = []
  readonly #found: Array<Entry | undefined> = []

  constructor(source: Source, bounds: WindowsBounds) {
    this.#source = source
    this.#bounds = bounds
  }

  get keys(): number {
    return this.#entries.size
  }

  /** Slots of all rings together. */
  get stamps(): number {
    return this.#stamps
  }

  /** Charges all keys or none. `now` is in microseconds of a clock that never steps back. */
  take(ask: Ask, now: number): Exit.Exit<Grant, LimiterError> {
    return this.#check(ask, now) ?? this.#commit(ask, now)
  }

  /** What `take` would answer, charging nothing. */
  peek(ask: Ask, now: number): Exit.Exit<Grant, LimiterError> {
    const refused = this.#check(ask, now)
    if (refused !== undefined) return refused
    const quotas = ask.keys.map(({ policy }, place) => quotaOf(policy, this.#found[place]?.ring, now))
    return Exit.succeed({ quotas, source: this.#source })
  }

  /** Writes down what somebody else admitted. Never refuses; at a full key the oldest unit makes room. */
  record(ask: Ask, now: number): void {
    this.#find(ask, now)
    this.#commit(ask, now)
  }

  #find({ keys }: Ask, now: number): void {
    for (let place = 0; place < keys.length; place++) {
      const { policy, key } = keys[place] as Ask["keys"][number]
      const text = textOf(policy, key)
      const entry = this.#entries.get(text)
      entry?.ring.trim(now - policy.windowMicros)
      this.#texts[place] = text
      this.#found[place] = entry
    }
  }

  #check(ask: Ask, now: number): Exit.Exit<never, LimiterError> | undefined {
    const never = impossible(ask)
    if (never !== undefined) return Exit.fail(never)
    this.#find(ask, now)
    let violated: [PolicyName, ...Array<PolicyName>] | undefined
    let wait = 0
    for (let place = 0; place < ask.keys.length; place++) {
      const ring = this.#found[place]?.ring
      if (ring === undefined) continue
      const { policy } = ask.keys[place] as Ask["keys"][number]
      const excess = ring.size + ask.cost - policy.limit
      if (excess <= 0) continue
      if (violated === undefined) violated = [policy.name]
      else violated.push(policy.name)
      wait = Math.max(wait, ring.at(excess - 1) + policy.windowMicros - now)
    }
    return violated === undefined ? undefined : Exit.fail(rateLimited(violated, wait, this.#source))
  }

  #commit({ keys, cost }: Ask, now: number): Exit.Exit<Grant> {
    const round = ++this.#round
    const quotas: Array<Quota> = []
    for (let place = 0; place < keys.length; place++) {
      const { policy } = keys[place] as Ask["keys"][number]
      const entry = this.#found[place] ?? this.#enter(this.#texts[place] as string)
      if (entry.round !== round) {
        entry.round = round
        const slots = entry.ring.slots
        entry.ring.push(now, cost, policy.limit)
        this.#stamps += entry.ring.slots - slots
        this.#touch(entry, policy.windowMicros)
      }
      quotas.push(quotaOf(policy, entry.ring, now))
    }
    for (const { window, oldest } of this.#queues) {
      if (oldest !== undefined && oldest.ring.newest + window <= now) this.#forget(oldest)
    }
    while (this.#entries.size > this.#bounds.keysMax || this.#stamps > this.#bounds.stampsMax) this.#evict()
    return Exit.succeed({ quotas, source: this.#source })
  }

  #enter(text: string): Entry {
    const known = this.#entries.get(text) // Named twice in one ask.
    if (known !== undefined) return known
    const entry = new Entry(text)
    this.#entries.set(text, entry)
    this.#stamps += entry.ring.slots
    return entry
  }

  #touch(entry: Entry, window: number): void {
    const queue = entry.queue?.window === window ? entry.queue : this.#queueOf(window)
    if (queue.newest === entry) return
    entry.queue?.remove(entry)
    queue.append(entry)
  }

  #queueOf(window: number): Queue {
    const known = this.#queues.find((queue) => queue.window === window)
    if (known !== undefined) return known
    const queue = new Queue(window)
    this.#queues.push(queue)
    return queue
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.text)
    this.#stamps -= entry.ring.slots
    entry.queue?.remove(entry)
  }

  #evict(): void {
    let victim: Entry | undefined
    let first = Number.POSITIVE_INFINITY
    for (const { window, oldest } of this.#queues) {
      if (oldest === undefined) continue
      const idleAt = oldest.ring.newest + window
      if (idleAt < first) {
        first = idleAt
        victim = oldest
      }
    }
    if (victim !== undefined) this.#forget(victim)
  }
}

const quotaOf = (policy: Policy, ring: Ring | undefined, now: number): Quota =>
  ring === undefined || ring.size === 0
    ? new Quota(policy, policy.limit, 0)
    : new Quota(policy, policy.limit - ring.size, ring.at(0) + policy.windowMicros - now)

/**
 * A refusal, shared with whoever decides elsewhere. It is an answer and no accident, so it takes no stack
 * trace: that is four fifths of its price, and a flood pays it once a request.
 */
export const rateLimited = (
  violated: Arr.NonEmptyReadonlyArray<PolicyName>,
  waitMicros: number,
  source: Source
): LimiterError => {
  const traced = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return new LimiterError({ reason: new RateLimited({ violated, retryAfter: fromMicros(waitMicros), source }) })
  } finally {
    Error.stackTraceLimit = traced
  }
}

/** Whole microseconds of the monotonic clock. A double holds them exactly for three centuries. */
export const nowMicros = (clock: Clock.Clock): number => Math.floor(Number(clock.monotonicTimeNanosUnsafe()) / 1000)
