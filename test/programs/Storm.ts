/**
 * `kill -9` at random, under load. Each seed draws whom and when; `CHAOS_SEED` plays one, otherwise the kept
 * ones are played again and a new one is drawn. What a seed repeats is the schedule of the faults: how the
 * processes interleave in between is the machine's.
 */
import { setTimeout as pause } from "node:timers/promises"

import { TenantId } from "../../src/domain/Ids.ts"
import { IdempotencyKey } from "../../src/domain/payments/IdempotencyKey.ts"
import { pspKey } from "../../src/domain/payments/PspKey.ts"
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

const tokens = ["tok_visa", "tok_visa", "tok_visa", "tok_declined", "tok_busy", "tok_timeout", "tok_slow"]

/** What a crash leaves is taken up again within seconds, and nothing is given up. */
export const impatient = {
  PSP_TIMEOUT: "1 second",
  PSP_LEASE: "3 seconds",
  PSP_BACKOFF_BASE: "50 millis",
  PSP_BACKOFF_CAP: "1 second",
  PSP_ATTEMPTS_MAX: "1000",
  BREAKER_WINDOW: "50 millis",
  BREAKER_FLEET: "2",
  BREAKER_WINDOW_CAP: "500 millis",
  RELAY_LEASE: "1 second",
  LOG_LEVEL: "error"
}

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
  let bag: ReadonlyArray<string> = []
  for (let n = 0; n < times; n++) {
    await pause(between(100, 1500))
    // Without putting back, so that nobody is spared for long.
    if (bag.length === 0) bag = Object.keys(stage.victims)
    const name = one(bag)
    bag = bag.filter((other) => other !== name)
    told.set(name, (told.get(name) ?? 0) + 1)
    await stage.victims[name]?.(next() < 0.75).catch((error: unknown) => {
      throw new Error([String(error), ...stage.crashes].join("\n"), { cause: error })
    })
  }
}

/** Everything that was wrong, in words; nothing when all is well. */
export const storm = async (stage: Stage): Promise<ReadonlyArray<string>> => {
  const killed = new Map<string, number>()
  const { crowd, wrong } = await underLoad(stage, async () => {
    for (const [at, seed] of seeds.entries()) {
      const share = Math.floor((kills * (at + 1)) / seeds.length) - Math.floor((kills * at) / seeds.length)
      await kill(stage, chance(seed), share, killed)
    }
  })
  console.log(
    `seeds ${seeds.join(", ")}: killed ${words(killed)}; ${crowd.intents.length} charges, ${words(crowd.seen)}`
  )
  return wrong
}

/** Clients charge while `faults` happen and are told their outcomes after; then all comes to rest, and is compared. */
export const underLoad = async (
  stage: Stage,
  faults: () => Promise<void>
): Promise<{ readonly crowd: Crowd; readonly wrong: ReadonlyArray<string> }> => {
  const crowd = new Crowd({
    url: stage.url,
    callers: stage.callers,
    tokens,
    chance: chance((seeds[0] ?? 0) + 1),
    clients: 24
  })
  await faults()
  const left = crowd.leave()
  await until("every client is told", tellMillis, () => crowd.open.length === 0 || pause(100, false)).catch(
    () => undefined
  )
  if (crowd.open.length > 0) {
    const open = crowd.open.map((one) => `never told: ${JSON.stringify(one)}`)
    return { crowd, wrong: [...stage.crashes, ...crowd.surprises, ...open] }
  }
  await left
  let unrest: ReadonlyArray<unknown> = []
  await until("all is at rest", restMillis, async () => {
    unrest = await stage.books.unrest()
    return unrest.length === 0 || pause(200, false)
  }).catch(() => undefined)
  const told = crowd.intents.map(({ key, order, told, caller }) => ({
    tenant: caller.tenant,
    key,
    amount: order.amount,
    answers: told
  }))
  const accounts = await stage.books.accounts()
  const wrong = [
    ...stage.crashes,
    ...crowd.surprises,
    ...unrest.map((one) => `not at rest: ${JSON.stringify(one)}`),
    ...(await stage.books.unbalanced()).map((row) => `out of balance: ${String(row)}`),
    ...complaints({ ...accounts, told }),
    ...accounts.charges
      .filter(isMisnamed)
      .map(({ id }) => `${id} goes by another name at the provider than its key gives`),
    ...(await replayed(stage.url(), crowd.intents))
  ]
  return { crowd, wrong }
}

/** A provider recognises a charge even when our rows are lost, since its key there is derived from its key here. */
const isMisnamed = (charge: Accounts["charges"][number]) =>
  charge.pspKey !== pspKey(TenantId.make(charge.tenant), IdempotencyKey.make(charge.key), "charge", 1)

const words = (counts: ReadonlyMap<string, number>) => [...counts].map(([name, n]) => `${n} × ${name}`).join(", ")
