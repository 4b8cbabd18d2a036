/**
 * Sliding windows of many keys, decided synchronously in this process: the whole of `MemoryLimiter`. Exact as
 * long as no active key is dropped; the quota of one that is starts afresh (see `KeyTable`).
 */
import { Exit } from "effect"
import type { Array as Arr, Clock } from "effect"

import { fromMicros, impossible, LimiterError, Quota, RateLimited } from "../../domain/limits/Limiter.ts"
import type { Ask, DecisionId, Grant, Source, Spent } from "../../domain/limits/Limiter.ts"
import type { Policy, PolicyName } from "../../domain/limits/Policy.ts"
import { Ids } from "./Ids.ts"
import { KeyTable, keyTableBounds, textOf } from "./KeyTable.ts"
import type { Entry, KeyTableBounds } from "./KeyTable.ts"
import type { Ring, RingId } from "./Ring.ts"

export type WindowsBounds = KeyTableBounds
export const windowsBounds = keyTableBounds

/** A grant whose id is spelled out only for those who look. */
export class Granted implements Grant {
  readonly quotas: ReadonlyArray<Quota>
  readonly source: Source
  readonly #ids: Ids
  readonly #id: RingId

  constructor(ids: Ids, id: RingId, quotas: ReadonlyArray<Quota>, source: Source) {
    this.#ids = ids
    this.#id = id
    this.quotas = quotas
    this.source = source
  }

  get id(): DecisionId {
    return this.#ids.text(this.#id)
  }
}

export class Windows {
  readonly #source: Source
  readonly #table: KeyTable
  readonly #ids: Ids
  // Scratch of the one decision that runs; decisions are synchronous, so there is never a second.
  readonly #texts: Array<string> = []
  readonly #found: Array<Entry | undefined> = []
  readonly #full: Array<boolean> = []

  constructor(source: Source, bounds: WindowsBounds, ids: Ids = new Ids("")) {
    this.#source = source
    this.#table = new KeyTable(bounds)
    this.#ids = ids
  }

  get keys(): number {
    return this.#table.keys
  }

  /** Slots of all rings together. */
  get stamps(): number {
    return this.#table.stamps
  }

  /** Charges all keys or none. `now` is in microseconds of a clock that never steps back. */
  take(ask: Ask, now: number): Exit.Exit<Grant, LimiterError> {
    const never = impossible(ask)
    if (never !== undefined) return Exit.fail(never)
    this.#find(ask.keys, now)
    const id = ask.id === undefined ? this.#ids.next() : this.#ids.read(ask.id)
    if (ask.id !== undefined && (this.#found[0]?.ring.unitsOf(id) ?? 0) > 0) return this.#granted(ask, id, now)
    return this.#check(ask, now) ?? this.#commit(ask, id, now)
  }

  /** What `take` would answer, charging nothing. */
  peek(ask: Ask, now: number): Exit.Exit<Grant, LimiterError> {
    const never = impossible(ask)
    if (never !== undefined) return Exit.fail(never)
    this.#find(ask.keys, now)
    return this.#check(ask, now) ?? this.#granted(ask, ask.id ?? this.#ids.next(), now)
  }

  /** Gives back what a decision charged: how many units a key that was. */
  refund({ id, keys }: Spent, now: number): number {
    this.#find(keys, now)
    const known = this.#ids.read(id)
    let most = 0
    for (let place = 0; place < keys.length; place++) {
      most = Math.max(most, this.#found[place]?.ring.remove(known) ?? 0)
    }
    return most
  }

  reset(keys: Ask["keys"]): void {
    for (const { policy, key } of keys) this.#table.forget(textOf(policy, key))
  }

  #find(keys: Ask["keys"], now: number): void {
    for (let place = 0; place < keys.length; place++) {
      const { policy, key } = keys[place] as Ask["keys"][number]
      const text = textOf(policy, key)
      this.#texts[place] = text
      this.#found[place] = this.#table.find(text, now - policy.windowMicros)
    }
  }

  #check(ask: Ask, now: number): Exit.Exit<never, LimiterError> | undefined {
    let violated: [PolicyName, ...Array<PolicyName>] | undefined
    let wait = 0
    for (let place = 0; place < ask.keys.length; place++) {
      const { policy } = ask.keys[place] as Ask["keys"][number]
      const ring = this.#found[place]?.ring
      const excess = (ring?.units ?? 0) + ask.cost - policy.limit
      this.#full[place] = excess > 0
      if (excess <= 0 || ring === undefined || policy.observe) continue
      if (violated === undefined) violated = [policy.name]
      else violated.push(policy.name)
      wait = Math.max(wait, ring.unit(excess) + policy.windowMicros - now)
    }
    return violated === undefined ? undefined : Exit.fail(rateLimited(violated, wait, this.#source))
  }

  /** A full key that only observes is not charged: it would be none that it counts had it refused. */
  #commit(ask: Ask, id: RingId, now: number): Exit.Exit<Grant> {
    this.#table.begin()
    for (let place = 0; place < ask.keys.length; place++) {
      if (this.#full[place] === true) continue
      const { policy } = ask.keys[place] as Ask["keys"][number]
      this.#found[place] = this.#table.charge(this.#texts[place] as string, policy, ask.cost, id, now)
    }
    const granted = this.#granted(ask, id, now)
    this.#table.sweep(now)
    return granted
  }

  #granted({ keys }: Ask, id: RingId, now: number): Exit.Exit<Grant> {
    const quotas: Array<Quota> = []
    for (let place = 0; place < keys.length; place++) {
      quotas.push(quotaOf((keys[place] as Ask["keys"][number]).policy, this.#found[place]?.ring, now))
    }
    return Exit.succeed(new Granted(this.#ids, id, quotas, this.#source))
  }
}

const quotaOf = (policy: Policy, ring: Ring | undefined, now: number): Quota =>
  ring === undefined || ring.size === 0
    ? new Quota(policy, policy.limit, 0)
    : new Quota(policy, Math.max(0, policy.limit - ring.units), ring.oldest + policy.windowMicros - now)

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
