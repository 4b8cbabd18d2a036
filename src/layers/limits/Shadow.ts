/**
 * What this process admitted itself, and what it last knew of the others: written beside every answer of
 * Redis, so that it is warm when there is none. Then it decides, as each policy wants it, and tells Redis what
 * it admitted when that is back.
 *
 * Stamps are taken when an answer arrives, so a unit is never older here than it is in Redis: it leaves later,
 * and what is decided from it errs on the side of the limit.
 */
import { Exit } from "effect"

import * as Fleet from "../../domain/limits/Fleet.ts"
import { CannotDecide, LimiterError, Quota } from "../../domain/limits/Limiter.ts"
import type { Ask, Grant } from "../../domain/limits/Limiter.ts"
import type { Policy, PolicyName } from "../../domain/limits/Policy.ts"
import type { Ids } from "./Ids.ts"
import { KeyTable, tagOf } from "./KeyTable.ts"
import type { Entry, KeyTableBounds } from "./KeyTable.ts"
import type { RingId } from "./Ring.ts"
import { Granted, rateLimited } from "./Windows.ts"

/** An ask as it travels: its keys by the names they have in Redis, in the same order. */
export interface Named {
  readonly ask: Ask
  readonly names: ReadonlyArray<string>
  readonly id: RingId
}

/** One decision of a key, as `restore.lua` takes it. */
export interface Memory {
  readonly name: string
  readonly windowMicros: number
  readonly at: number
  readonly cost: number
  readonly id: RingId
}

/** Units under a key that Redis may not know, beyond which everything is told instead of these. */
const owedMax = 10_000

export class Shadow {
  readonly #table: KeyTable
  readonly #ids: Ids
  // Scratch of the one decision that runs.
  readonly #found: Array<Entry | undefined> = []
  readonly #full: Array<boolean> = []
  #owed: Array<Memory> = []
  /** More was owed than is remembered: all must be told everything. */
  overflowed = false

  constructor(bounds: KeyTableBounds, ids: Ids) {
    this.#table = new KeyTable(bounds)
    this.#ids = ids
  }

  get keys(): number {
    return this.#table.keys
  }

  /** Whether everything that this process admitted and that still counts is here. */
  isWhole(now: number): boolean {
    return this.#table.lostUntil <= now
  }

  /**
   * Redis charged it: `remaining` is what it then had left under each key, less than nothing where it did not. What is lent counts
   * from its last possible use.
   */
  record({ ask, id, names }: Named, remaining: ReadonlyArray<number>, now: number, lentMicros = 0): void {
    this.#find(ask, names, now)
    this.#table.begin()
    for (let place = 0; place < names.length; place++) {
      const { policy } = ask.keys[place] as Ask["keys"][number]
      const left = remaining[place] as number
      if (left < 0) continue
      const entry = this.#table.charge(names[place] as string, policy, ask.cost, id, now + lentMicros)
      entry.others = Math.max(0, policy.limit - left - entry.ring.units)
      entry.othersUntil = now + policy.windowMicros
    }
    this.#table.sweep(now)
  }

  /** A lease went back, but for what was used of it. */
  shrink(name: string, id: RingId, cost: number): void {
    this.#table.find(name, Number.NEGATIVE_INFINITY)?.ring.shrink(id, cost)
  }

  /** Redis had no room for `cost` here. Remembered only of a key that is known: a flood of refusals adds none. */
  refused(name: string, policy: Policy, cost: number, now: number): void {
    const entry = this.#table.find(name, now - policy.windowMicros)
    if (entry === undefined) return
    entry.others = Math.max(0, policy.limit - cost + 1 - entry.ring.units)
    entry.othersUntil = now + policy.windowMicros
  }

  /** Decides in place of Redis. `place` is this process's place among those that share, if it has one. */
  take(named: Named, place: Fleet.Place | undefined, now: number): Exit.Exit<Grant, LimiterError> {
    const { ask, id, names } = named
    this.#find(ask, names, now)
    if (ask.id !== undefined && (this.#found[0]?.ring.unitsOf(id) ?? 0) > 0) return this.#granted(named, place, now)
    const refused = this.#check(ask, place, now)
    if (refused !== undefined) return refused
    this.#table.begin()
    for (let at = 0; at < names.length; at++) {
      if (this.#full[at] === true) continue
      const { policy } = ask.keys[at] as Ask["keys"][number]
      this.#found[at] = this.#table.charge(names[at] as string, policy, ask.cost, id, now)
      this.#owe({ name: names[at] as string, windowMicros: policy.windowMicros, at: now, cost: ask.cost, id })
    }
    const granted = this.#granted(named, place, now)
    this.#table.sweep(now)
    return granted
  }

  peek(named: Named, place: Fleet.Place | undefined, now: number): Exit.Exit<Grant, LimiterError> {
    this.#find(named.ask, named.names, now)
    return this.#check(named.ask, place, now) ?? this.#granted(named, place, now)
  }

  /** Units a key that a decision of this process was charged, and no longer is. */
  refund({ ask, id, names }: Named, now: number): number {
    this.#find(ask, names, now)
    let most = 0
    for (const entry of this.#found.slice(0, names.length)) most = Math.max(most, entry?.ring.remove(id) ?? 0)
    this.#owed = this.#owed.filter((memory) => memory.id !== id || !names.includes(memory.name))
    return most
  }

  reset(names: ReadonlyArray<string>): void {
    for (const name of names) this.#table.forget(name)
    this.#owed = this.#owed.filter(({ name }) => !names.includes(name))
  }

  /** Tags of the keys that it knows. */
  get tags(): ReadonlyMap<string, unknown> {
    return this.#table.groups
  }

  /** Whether this process admitted what Redis may not know: under keys of one tag, or any. */
  owes(tag: string | undefined): boolean {
    return this.#owed.length > 0 && (tag === undefined || this.#owed.some(({ name }) => tagOf(name) === tag))
  }

  #owe(memory: Memory): void {
    if (this.#owed.length < owedMax) this.#owed.push(memory)
    else this.overflowed = true
  }

  /** Takes what is owed. Whoever fails to tell it must tell everything. */
  owed(tag: string | undefined, now: number): ReadonlyArray<Memory> {
    const owed = tag === undefined ? this.#owed : this.#owed.filter(({ name }) => tagOf(name) === tag)
    this.#owed = tag === undefined ? [] : this.#owed.filter(({ name }) => tagOf(name) !== tag)
    return owed.filter(({ at, windowMicros }) => at > now - windowMicros)
  }

  /** All that counts, key by key, oldest first. */
  everything(tag: string | undefined, now: number): ReadonlyArray<Memory> {
    this.owed(tag, now)
    const told: Array<Memory> = []
    this.#table.each(tag, now, ({ ring, text: name }, windowMicros) => {
      ring.each((at, cost, id) => told.push({ name, windowMicros, at, cost, id }))
    })
    return told
  }

  #find({ keys }: Ask, names: ReadonlyArray<string>, now: number): void {
    for (let place = 0; place < names.length; place++) {
      const { policy } = keys[place] as Ask["keys"][number]
      this.#found[place] = this.#table.find(names[place] as string, now - policy.windowMicros)
    }
  }

  #check({ cost, keys }: Ask, place: Fleet.Place | undefined, now: number): Exit.Exit<never, LimiterError> | undefined {
    let violated: [PolicyName, ...Array<PolicyName>] | undefined
    let wait = 0
    let unknowable: string | undefined
    for (let at = 0; at < keys.length; at++) {
      const { policy } = keys[at] as Ask["keys"][number]
      const entry = this.#found[at]
      const own = entry?.ring.units ?? 0
      this.#full[at] = own + cost > policy.limit
      if (policy.observe || policy.outage === "open") continue
      const mine = place === undefined ? 0 : Fleet.share(policy.limit, place)
      if (policy.outage !== "soft") unknowable = `${policy.name} is ${policy.outage} while Redis is away`
      else if (cost > mine) unknowable = `${policy.name} leaves this process ${mine} while Redis is away`
      else if (entry === undefined) {
        if (this.#table.crowded) unknowable = "more keys are in use than this process remembers"
      } else if (cost > Fleet.room(policy.limit, mine, own, othersAt(entry, now))) {
        if (violated === undefined) violated = [policy.name]
        else violated.push(policy.name)
        wait = Math.max(wait, waitFor(entry, policy, mine, cost, now))
      }
    }
    if (unknowable !== undefined) return Exit.fail(cannotDecide(unknowable))
    return violated === undefined ? undefined : Exit.fail(rateLimited(violated, wait, "shadow"))
  }

  #granted({ ask, id }: Named, place: Fleet.Place | undefined, now: number): Exit.Exit<Grant> {
    const quotas = ask.keys.map(({ policy }, at) => {
      const entry = this.#found[at]
      const mine = place === undefined ? 0 : Fleet.share(policy.limit, place)
      if (entry === undefined || entry.ring.size === 0) return new Quota(policy, Math.max(0, mine), 0)
      const left = Fleet.room(policy.limit, mine, entry.ring.units, othersAt(entry, now))
      return new Quota(policy, Math.max(0, left), entry.ring.oldest + policy.windowMicros - now)
    })
    return Exit.succeed(new Granted(this.#ids, id, quotas, "shadow"))
  }
}

const othersAt = ({ others, othersUntil }: Entry, now: number): number => (othersUntil > now ? others : 0)

/** When `cost` fits: enough of its own has left, for the share, and for the limit unless the others go first. */
const waitFor = (entry: Entry, { limit, windowMicros }: Policy, mine: number, cost: number, now: number): number => {
  const { ring } = entry
  const leaves = (excess: number) => (excess <= 0 ? now : ring.unit(excess) + windowMicros)
  const excess = ring.units + othersAt(entry, now) + cost - limit
  const withOthers = excess > ring.units ? entry.othersUntil : Math.min(entry.othersUntil, leaves(excess))
  return Math.max(leaves(ring.units + cost - mine), excess <= 0 ? now : withOthers) - now
}

/** Without a trace, as a refusal is: in an outage it is paid once a request. */
export const cannotDecide = (cause: unknown): LimiterError => {
  const traced = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return new LimiterError({ reason: new CannotDecide({ cause }) })
  } finally {
    Error.stackTraceLimit = traced
  }
}
