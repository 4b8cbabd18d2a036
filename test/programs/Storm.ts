/**
 * `kill -9` at random, under load. Each seed draws whom and when; `CHAOS_SEED` plays one, otherwise the kept
 * ones are played again and a new one is drawn. What a seed repeats is the schedule of the faults: how the
 * processes interleave in between is the machine's.
 */
import { setTimeout as pause } from "node:timers/promises"

import { type Chance, chance } from "../support/Chance.ts"
import { until } from "../support/Program.ts"
import { Crowd, type Options, replayed } from "./Crowd.ts"
import { type Accounts, complaints } from "./Reckoning.ts"

/** Seeds that once showed something, with what it was. */
const kept: ReadonlyArray<number> = [
  1752144268 // A twin that was killed before it listened kept the suite from starting.
]

const fresh = () => ((performance.timeOrigin * 1000 + performance.now()) % 2 ** 32) >>> 0

export const seeds: ReadonlyArray<number> =
  process.env["CHAOS_SEED"] === undefined ? [...kept, fresh()] : [Number(process.env["CHAOS_SEED"])]

/** Kills in one storm, over all seeds. */
export const kills = Number(process.env["CHAOS_KILLS"] ?? 12)

/** How long clients may go on asking after the last fault, and how long the house may take to come to rest. */
const tellMillis = 60_000
const restMillis = 45_000

/** A house that can be hurt. */
export interface Stage {
  readonly url: () => string
  /** Kills one of them and starts it again; ends when the new one serves, or at once if told not to wait. */
  readonly victims: Readonly<Record<string, (waits: boolean) => Promise<void>>>
  readonly callers: Options["callers"]
  /** All that may be asked after the faults. */
  readonly books: {
    readonly unrest: () => Promise<ReadonlyArray<unknown>>
    readonly unbalanced: () => Promise<ReadonlyArray<unknown>>
    readonly accounts: () => Promise<Omit<Accounts, "told">>
  }
  /** What the programs complained of that nobody did to them. */
  readonly crashes: ReadonlyArray<string>
}

const kill = async (stage: Stage, { between, one, next }: Chance, times: number, told: Map<string, number>) => {
  for (let n = 0; n < times; n++) {
    await pause(between(100, 1500))
    const name = one(Object.keys(stage.victims))
    told.set(name, (told.get(name) ?? 0) + 1)
    await stage.victims[name]?.(next() < 0.75).catch((error: unknown) => {
      throw new Error([String(error), ...stage.crashes].join("\n"), { cause: error })
    })
  }
}

/** Everything that was wrong, in words; nothing when all is well. */
export const storm = async (stage: Stage, tokens: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  const began = performance.now()
  const killed = new Map<string, number>()
  const crowd = new Crowd({
    url: stage.url,
    callers: stage.callers,
    tokens,
    chance: chance((seeds[0] ?? 0) + 1),
    clients: 24
  })
  for (const [at, seed] of seeds.entries()) {
    const share = Math.floor((kills * (at + 1)) / seeds.length) - Math.floor((kills * at) / seeds.length)
    await kill(stage, chance(seed), share, killed)
  }
  const stormed = performance.now()
  const left = crowd.leave()
  await until("every client is told", tellMillis, () => crowd.open.length === 0 || pause(100, false)).catch(
    () => undefined
  )
  if (crowd.open.length > 0) {
    return [...stage.crashes, ...crowd.surprises, ...crowd.open.map((one) => `never told: ${JSON.stringify(one)}`)]
  }
  await left
  let unrest: ReadonlyArray<unknown> = []
  await until("all is at rest", restMillis, async () => {
    unrest = await stage.books.unrest()
    return unrest.length === 0 || pause(200, false)
  }).catch(() => undefined)
  const rested = performance.now()
  console.log(
    `seeds ${seeds.join(", ")}: killed ${words(killed)} in ${seconds(began, stormed)} s, at rest ${seconds(stormed, rested)} s later; ` +
      `${crowd.intents.length} charges, ${words(crowd.seen)}`
  )
  const told = crowd.intents.map(({ key, order, told, caller }) => ({
    tenant: caller.tenant,
    key,
    amount: order.amount,
    answers: told
  }))
  return [
    ...stage.crashes,
    ...crowd.surprises,
    ...unrest.map((one) => `not at rest: ${JSON.stringify(one)}`),
    ...(await stage.books.unbalanced()).map((row) => `out of balance: ${String(row)}`),
    ...complaints({ ...(await stage.books.accounts()), told }),
    ...(await replayed(stage.url(), crowd.intents))
  ]
}

const seconds = (from: number, to: number) => ((to - from) / 1000).toFixed(1)

const words = (counts: ReadonlyMap<string, number>) => [...counts].map(([name, n]) => `${n} × ${name}`).join(", ")
