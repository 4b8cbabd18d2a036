/** Asks that travel together: what `decide.lua` is sent, and what it answers, ask by ask. */
import { Exit } from "effect"

import { Quota } from "../../domain/limits/Limiter.ts"
import type { AskKey, Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import type { Policy } from "../../domain/limits/Policy.ts"
import type { Ids } from "./Ids.ts"
import { lendMicros } from "./Leases.ts"
import type { Named } from "./Shadow.ts"
import { Granted, rateLimited } from "./Windows.ts"

/** Bounds of one batch: about a millisecond of Redis, in which nobody else is served. */
export const asksMax = 64
const unitsMax = 1000

/** Whether the id was never sent before, may have been, nothing is to be charged, or all of it is lent. */
export const kinds = { fresh: 0, again: 1, look: 2, lease: 3 } as const
export type Kind = (typeof kinds)[keyof typeof kinds]

/**
 * What `decide.lua` answers: 1, its time, and the verdicts; or only its time, with 0 when it knows another epoch,
 * and 2 when its clock was put forward.
 */
export type Answer = readonly [known: 0 | 1 | 2, now: number, ...verdicts: ReadonlyArray<number>]

/** What became of one ask. `remaining` is there when this ask charged something. */
export interface Decided {
  readonly decision: Exit.Exit<Grant, LimiterError>
  readonly remaining: ReadonlyArray<number> | undefined
  /** Of a refusal: the keys without room, by place, and when each has some. */
  readonly full: ReadonlyArray<{ readonly at: number; readonly waitMicros: number }>
}

const none: Decided["full"] = []

export class Batch<Traveller extends Named & { readonly kind: Kind }> {
  readonly travellers: Array<Traveller> = []
  readonly #names: Array<string> = []
  readonly #policies: Array<Policy> = []
  readonly #places = new Map<string, number>()
  readonly #max: number
  #units = 0

  constructor(max = asksMax) {
    this.#max = max
  }

  /** False when it is full, or when a key of the ask has another rule here: then the ask opens the next one. */
  add(traveller: Traveller): boolean {
    const { ask, names } = traveller
    if (this.travellers.length >= this.#max) return false
    if (this.travellers.length > 0 && this.#units + ask.cost > unitsMax) return false
    for (let at = 0; at < names.length; at++) {
      const place = this.#places.get(names[at] as string)
      if (place === undefined) continue
      const here = this.#policies[place - 1] as Policy
      const { policy } = ask.keys[at] as AskKey
      if (here !== policy && !sameRule(here, policy)) return false
    }
    for (let at = 0; at < names.length; at++) {
      const name = names[at] as string
      if (this.#places.has(name)) continue
      this.#names.push(name)
      this.#policies.push((ask.keys[at] as AskKey).policy)
      this.#places.set(name, this.#names.length)
    }
    this.#units += ask.cost
    this.travellers.push(traveller)
    return true
  }

  keys(epoch: string): ReadonlyArray<string> {
    return [epoch, ...this.#names]
  }

  values(epoch: string, latest: number, ids: Ids, limitOf: (policy: Policy) => number): ReadonlyArray<string | number> {
    const values: Array<string | number> = [epoch, latest]
    for (const policy of this.#policies) {
      values.push(limitOf(policy), policy.windowMicros, policy.observe ? 1 : 0, lendMicros(policy))
    }
    for (const { ask, id, kind, names } of this.travellers) {
      values.push(ids.text(id), kind, ask.cost, names.length)
      for (const name of names) values.push(this.#places.get(name) as number)
    }
    return values
  }

  /** One verdict each, in the order in which they came. */
  read(answer: Answer, ids: Ids, each: (traveller: Traveller, decided: Decided) => void): void {
    let at = 2
    const next = () => answer[at++] as number
    for (const traveller of this.travellers) {
      const { ask, id } = traveller
      const verdict = next()
      if (verdict === 0) {
        const full = Array.from({ length: next() }, () => ({ at: next() - 1, waitMicros: next() }))
        const [first, ...others] = full.map(({ at }) => (ask.keys[at] ?? ask.keys[0]).policy.name)
        const named = [first ?? ask.keys[0].policy.name, ...others] as const
        const wait = Math.max(...full.map(({ waitMicros }) => waitMicros))
        each(traveller, { decision: Exit.fail(rateLimited(named, wait, "redis")), remaining: undefined, full })
        continue
      }
      const remaining: Array<number> = []
      const quotas: Array<Quota> = []
      for (const { policy } of ask.keys) {
        const left = next()
        remaining.push(left)
        quotas.push(new Quota(policy, Math.max(0, left), next()))
      }
      each(traveller, {
        decision: Exit.succeed(new Granted(ids, id, quotas, "redis")),
        remaining: verdict === 1 && traveller.kind !== kinds.look ? remaining : undefined,
        full: none
      })
    }
  }
}

const sameRule = (one: Policy, other: Policy): boolean =>
  one.limit === other.limit &&
  one.windowMicros === other.windowMicros &&
  one.observe === other.observe &&
  lendMicros(one) === lendMicros(other)
