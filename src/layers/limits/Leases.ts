/**
 * Units that Redis lent this process for a while, so that hot keys are decided here. All of a lease is charged
 * at once, dated at its last possible use: uses in any window then fit in what was charged for it, and nothing
 * else has to know of leases. Its clock starts when it was asked for. What is left at its end goes back; a
 * process that dies wastes it for a window and the lease.
 *
 * Only keys whose asks a process makes by the dozen are worth one, and only while plenty is left: a lease of
 * the last units would keep them from the others.
 */
import { Duration } from "effect"

import type { Ask } from "../../domain/limits/Limiter.ts"
import type { Policy } from "../../domain/limits/Policy.ts"

/** Fewer are not worth the trip of their own. */
const unitsMin = 8

/** How many leases of its size a key must have left, so that one does not starve the others. */
const plenty = 4

/** Keys whose heat is measured; the one measured longest makes room. */
const keysMax = 10_000

export interface Lease {
  readonly name: string
  readonly policy: Policy
  readonly id: number
  readonly units: number
  readonly until: number
  /** What was left beside it when it was made. */
  readonly beside: number
  readonly resetMicros: number
  used: number
  readonly uses: Map<number, number>
}

/** How hot a key is, and what was lent of it. */
interface Warmth {
  since: number
  asked: number
  before: number
  pending: boolean
  lease: Lease | undefined
}

/** How long a policy lends, in microseconds; not at all with zero. Never longer than its window. */
export const lendMicros = ({ lease, windowMicros }: Policy): number =>
  lease === undefined ? 0 : Math.min(Math.round(Duration.toMillis(lease.ttl) * 1000), windowMicros)

export class Leases {
  readonly #keys = new Map<string, Warmth>()
  readonly #over: Array<Lease> = []

  /** Takes from the leases of all keys, or from none. */
  take({ cost, keys }: Ask, names: ReadonlyArray<string>, id: number, now: number): ReadonlyArray<Lease> | undefined {
    const leases: Array<Lease> = []
    for (let place = 0; place < names.length; place++) {
      const { policy } = keys[place] as Ask["keys"][number]
      const lease = this.#alive(names[place] as string, policy, now)
      if (lease === undefined || lease.used + cost > lease.units) return undefined
      if (!leases.includes(lease)) leases.push(lease)
    }
    for (const lease of leases) {
      lease.used += cost
      lease.uses.set(id, cost)
    }
    return leases
  }

  /** An ask went to Redis, which has `left` of this key: how many units to borrow, if any. */
  borrow(name: string, policy: Policy, cost: number, left: number, now: number): number {
    const span = lendMicros(policy)
    if (span === 0) return 0
    const warmth = this.#warm(name, now)
    if (now >= warmth.since + span) {
      warmth.before = now < warmth.since + 2 * span ? warmth.asked : 0
      warmth.asked = 0
      warmth.since = now
    }
    warmth.asked += cost
    if (warmth.pending || this.#alive(name, policy, now) !== undefined) return 0
    const used = Math.max(warmth.asked, warmth.before)
    const units = Math.min(policy.lease?.units ?? 0, used, Math.floor(left / plenty))
    if (units < unitsMin) return 0
    warmth.pending = true
    return units
  }

  /** What became of what was to be borrowed. */
  lent(name: string, lease: Lease | undefined, now: number): void {
    const warmth = this.#warm(name, now)
    warmth.pending = false
    if (lease !== undefined) this.#replace(warmth, lease)
  }

  /** Gives a use back to its lease, while that has not gone back itself. */
  refund(name: string, id: number): number {
    const lease = this.#keys.get(name)?.lease
    const cost = lease?.uses.get(id)
    if (lease === undefined || cost === undefined) return 0
    lease.uses.delete(id)
    lease.used -= cost
    return cost
  }

  /** Leases that ended, all of them if `now` is the end of everything. */
  over(now: number): ReadonlyArray<Lease> {
    for (const warmth of this.#keys.values()) {
      if (warmth.lease !== undefined && warmth.lease.until <= now) this.#replace(warmth, undefined)
    }
    return this.#over.splice(0)
  }

  reset(names: ReadonlyArray<string>): void {
    for (const name of names) this.#keys.delete(name)
  }

  #alive(name: string, policy: Policy, now: number): Lease | undefined {
    const warmth = this.#keys.get(name)
    const lease = warmth?.lease
    if (warmth === undefined || lease === undefined) return undefined
    if (lease.until > now && lease.policy.limit === policy.limit && lease.used < lease.units) return lease
    this.#replace(warmth, undefined)
    return undefined
  }

  #replace(warmth: Warmth, lease: Lease | undefined): void {
    if (warmth.lease !== undefined) {
      warmth.asked += warmth.lease.used
      if (warmth.lease.used < warmth.lease.units) this.#over.push(warmth.lease)
    }
    warmth.lease = lease
  }

  #warm(name: string, now: number): Warmth {
    const known = this.#keys.get(name)
    if (known !== undefined) return known
    for (const [oldest, { lease }] of this.#keys) {
      if (this.#keys.size < keysMax) break
      if (lease !== undefined) this.#over.push(lease)
      this.#keys.delete(oldest)
    }
    const warmth: Warmth = { since: now, asked: 0, before: 0, pending: false, lease: undefined }
    this.#keys.set(name, warmth)
    return warmth
  }
}
