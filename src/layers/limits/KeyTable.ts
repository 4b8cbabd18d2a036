/**
 * The keys that this process remembers, each with its ring, and which of them to forget.
 *
 * A key without live units says nothing, so it is forgotten as soon as a neighbour is charged; there are no
 * timers. When `keysMax` or `stampsMax` is passed, the key that has been idle longest goes, and only when
 * none is idle the one nearest to it.
 */
import { hash } from "node:crypto"

import type { Policy } from "../../domain/limits/Policy.ts"
import { Ring } from "./Ring.ts"
import type { RingId } from "./Ring.ts"

/** Bounds of what is remembered. */
export interface KeyTableBounds {
  readonly keysMax: number
  /** Decisions of all keys together, 24 bytes each and the text of ids that callers brought. */
  readonly stampsMax: number
}

/** About 40 MB of keys and at most 120 MB of decisions. */
export const keyTableBounds: KeyTableBounds = { keysMax: 100_000, stampsMax: 5_000_000 }

/** Longer segments are kept as a digest, so that nobody fills the process with the names of keys. */
const segmentMax = 128

/** A key, and its place in the order of last charge among the keys of an equal window. */
export class Entry {
  readonly text: string
  readonly ring = new Ring()
  queue: Queue | undefined = undefined
  older: Entry | undefined = undefined
  newer: Entry | undefined = undefined
  /** The decision that charged it last: a key named twice in one ask is charged once. */
  round = 0
  /** Places of its ring that are counted in the table's. */
  counted = 0
  /** Units that other processes were last known to count here, and until when that is believed. */
  others = 0
  othersUntil = 0

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
export const textOf = (policy: Policy, key: ReadonlyArray<string>): string => {
  let text: string = policy.name
  for (const segment of key) {
    text +=
      segment.length > segmentMax
        ? `#${hash("sha256", Buffer.from(segment, "utf16le"), "base64url")}`
        : `|${segment.length}:${segment}`
  }
  return text
}

/** The hash tag of a name in Redis. */
export const tagOf = (name: string): string => name.slice(0, name.indexOf("}") + 1)

export class KeyTable {
  readonly #bounds: KeyTableBounds
  readonly #entries = new Map<string, Entry>()
  readonly #queues: Array<Queue> = [] // One a distinct window, so a handful.
  #stamps = 0
  #round = 0
  /** Keys that begin alike, once somebody asked for them so. */
  #groups: Map<string, Set<Entry>> | undefined = undefined
  /** Until when a unit would count whose key had to be forgotten: until then this table is not whole. */
  lostUntil = Number.NEGATIVE_INFINITY

  constructor(bounds: KeyTableBounds) {
    this.#bounds = bounds
  }

  get keys(): number {
    return this.#entries.size
  }

  /** Places of all rings together, as of their last charge. */
  get stamps(): number {
    return this.#stamps
  }

  /** Another key in use would push one out. */
  get crowded(): boolean {
    return this.#entries.size >= this.#bounds.keysMax || this.#stamps >= this.#bounds.stampsMax
  }

  /** Every key with what still counts of it, and its window; of one group, or of all. */
  each(group: string | undefined, now: number, see: (entry: Entry, window: number) => void): void {
    const entries = group === undefined ? this.#entries.values() : (this.groups.get(group) ?? [])
    for (const entry of entries) {
      if (entry.queue === undefined) continue
      entry.ring.trim(now - entry.queue.window)
      if (entry.ring.size > 0) see(entry, entry.queue.window)
    }
  }

  /** Keys by their tags, which are what they begin with up to `}`. */
  get groups(): ReadonlyMap<string, ReadonlySet<Entry>> {
    if (this.#groups === undefined) {
      this.#groups = new Map()
      for (const entry of this.#entries.values()) this.#group(entry)
    }
    return this.#groups
  }

  #group(entry: Entry): void {
    const tag = tagOf(entry.text)
    const there = this.#groups?.get(tag)
    if (there === undefined) this.#groups?.set(tag, new Set([entry]))
    else there.add(entry)
  }

  /** A key as it is known here, without what has left its window. */
  find(text: string, edge: number): Entry | undefined {
    const entry = this.#entries.get(text)
    entry?.ring.trim(edge)
    return entry
  }

  /** Begins a decision: each key is charged once in it. */
  begin(): number {
    return ++this.#round
  }

  /** Charges a key, which is entered if it was not known. */
  charge(text: string, policy: Policy, cost: number, id: RingId, now: number): Entry {
    const entry = this.#entries.get(text) ?? this.#enter(text)
    if (entry.round === this.#round) return entry
    entry.round = this.#round
    entry.ring.push(now, cost, id, policy.limit)
    this.#stamps += entry.ring.slots - entry.counted
    entry.counted = entry.ring.slots
    const queue = entry.queue?.window === policy.windowMicros ? entry.queue : this.#queueOf(policy.windowMicros)
    if (queue.newest !== entry) {
      entry.queue?.remove(entry)
      queue.append(entry)
    }
    return entry
  }

  forget(text: string): void {
    const entry = this.#entries.get(text)
    if (entry !== undefined) this.#forget(entry)
  }

  /** Forgets the next idle key of each window, and whatever is too much. */
  sweep(now: number): void {
    for (const { window, oldest } of this.#queues) {
      if (oldest !== undefined && oldest.ring.newest + window <= now) this.#forget(oldest)
    }
    while (this.#entries.size > this.#bounds.keysMax || this.#stamps > this.#bounds.stampsMax) this.#evict(now)
  }

  #enter(text: string): Entry {
    const entry = new Entry(text)
    this.#entries.set(text, entry)
    if (this.#groups !== undefined) this.#group(entry)
    return entry
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
    if (this.#groups !== undefined) {
      const tag = tagOf(entry.text)
      const there = this.#groups.get(tag)
      there?.delete(entry)
      if (there?.size === 0) this.#groups.delete(tag)
    }
    this.#stamps -= entry.counted
    entry.queue?.remove(entry)
  }

  #evict(now: number): void {
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
    if (first > now) this.lostUntil = Math.max(this.lostUntil, first)
    if (victim !== undefined) this.#forget(victim)
  }
}
