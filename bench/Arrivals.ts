/**
 * Callers who come when it hurts, and what of their quota they got. Only what is certain is counted against a
 * limiter: an admission counts into a window when it was sent and answered inside of it, and a refusal is wrong
 * when not even all that may have been admitted fills the window.
 */
import { setTimeout } from "node:timers/promises"

import type { Segments, Verdict } from "./peers/limits/Contender.ts"
import { startRedis } from "./RedisProcess.ts"
import { median } from "./Rounds.ts"

export type Ask = (segments: Segments) => Promise<Verdict>
type Decide = (limits: ReadonlyArray<number>, windowMillis: number) => Promise<Ask>

/** One ask and its answer, in milliseconds of one clock. */
interface Asked {
  readonly sent: number
  readonly answered: number
  readonly allowed: boolean
}

const limit = 100
const windowMillis = 1000

/** Milliseconds after a whole second of the calendar. */
const steady = (from: number, to: number, perSecond: number) =>
  Array.from({ length: Math.round(((to - from) * perSecond) / 1000) }, (_, n) => from + (n * 1000) / perSecond)
const atOnce = (at: number, count: number) => Array.from({ length: count }, () => at)

/** Fixed, so that all meet the same crowd. */
const poisson = (to: number, perSecond: number) => {
  const times: Array<number> = []
  let state = 42
  for (let at = 0; at < to;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    at += (-Math.log((state + 1) / 2 ** 32) * 1000) / perSecond
    times.push(at)
  }
  return times
}

export const schedules = {
  "Poisson, 1.1×": poisson(4000, 110),
  "bursts of 3×": [0, 1000, 2000, 3000].flatMap((from) => steady(from, from + 400, 300)),
  "early burst": [0, 1000, 2000].flatMap((from) => atOnce(from, limit).concat(steady(from, from + 1000, 50))),
  "burst before an edge": [...atOnce(950, limit), ...steady(1000, 3000, 130)],
  "late in the window": [...atOnce(0, 1), ...atOnce(960, limit - 1), ...atOnce(1040, limit)]
} as const

/** Asks at these times of a clock that begins with the next whole second. */
const come = async (ask: Ask, segments: Segments, times: ReadonlyArray<number>): Promise<ReadonlyArray<Asked>> => {
  const second = Math.ceil(Date.now() / 1000 + 0.05) * 1000
  const begin = performance.now() + (second - Date.now())
  const asked: Array<Promise<Asked>> = []
  for (const time of times.toSorted((a, b) => a - b)) {
    const wait = begin + time - performance.now()
    if (wait > 0) await setTimeout(wait)
    const sent = performance.now()
    asked.push(
      ask(segments).then(
        ({ allowed }) => ({ sent, answered: performance.now(), allowed }),
        () => ({ sent, answered: performance.now(), allowed: false })
      )
    )
  }
  return Promise.all(asked)
}

const worstOf = (asked: ReadonlyArray<Asked>, windowMillis: number): number => {
  const admitted = asked.filter(({ allowed }) => allowed)
  return Math.max(
    0,
    ...admitted.map(
      ({ sent }) => admitted.filter((other) => other.sent >= sent && other.answered < sent + windowMillis).length
    )
  )
}

const wrongOf = (asked: ReadonlyArray<Asked>): number => {
  const admitted = asked.filter(({ allowed }) => allowed)
  const denied = asked.filter(({ allowed }) => !allowed)
  const wrong = denied.filter(
    ({ answered, sent }) =>
      admitted.filter((other) => other.answered > sent - windowMillis && other.sent < answered).length < limit
  )
  return denied.length === 0 ? 0 : wrong.length / denied.length
}

export interface WindowsSeen {
  /** Of the limit, a schedule each. */
  readonly worst: ReadonlyArray<number>
  /** Share of the refusals under Poisson arrivals that had room. */
  readonly wrong: number
}

export const windows = async (decide: Decide): Promise<WindowsSeen> => {
  const ask = await decide([limit], windowMillis)
  await ask(["before"])
  const worst: Array<number> = []
  let wrong = 0
  for (const [name, times] of Object.entries(schedules)) {
    const asked = await come(ask, [name], times)
    worst.push(worstOf(asked, windowMillis) / limit)
    if (name.startsWith("Poisson")) wrong = wrongOf(asked)
  }
  return { worst, wrong }
}

/** Units of a tenant that are lost to fifty requests which one of its routes refuses. */
export const burn = async (decide: Decide): Promise<number> => {
  const [tenant, route] = [100, 10]
  const ask = await decide([tenant, tenant, route], 60_000)
  let admitted = 0
  const spend = async (on: string) => {
    if ((await ask(["burn", "u", on])).allowed) admitted++
  }
  for (let request = 0; request < route + 50; request++) await spend("r0")
  for (let other = 1; other < 20; other++) for (let request = 0; request < route; request++) await spend(`r${other}`)
  return tenant - admitted
}

/** What callers get of their quota who come back when they were told. */
export const goodput = async (decide: Decide): Promise<number> => {
  const [callers, millis] = [20, 5000]
  const ask = await decide([limit], windowMillis)
  const end = performance.now() + millis
  let admitted = 0
  const caller = async () => {
    while (performance.now() < end) {
      const { allowed, waitMillis } = await ask(["goodput"])
      if (allowed) admitted++
      else await setTimeout(Math.max(1, Math.ceil(waitMillis)))
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return admitted / ((limit * millis) / windowMillis)
}

export interface Hurt {
  /** Of what was asked while Redis was frozen, and while it was dead: the middle and the longest wait. */
  readonly frozen: readonly [p50: number, max: number]
  readonly killed: readonly [p50: number, max: number]
  /** Of the limit, over a kill and an empty restart. */
  readonly worst: number
}

const waits = (asked: ReadonlyArray<Asked>): readonly [number, number] => {
  const all = asked.map(({ answered, sent }) => answered - sent)
  return [median(all), Math.max(...all)]
}

const offered = (millis: number) => steady(0, millis, 100)

/**
 * A hundred a second of which 25 fit, while Redis freezes for four seconds and then is dead for four; at last it
 * dies right after a whole limit was spent, and is back, empty, within the same window.
 */
export const hurt = async (
  open: (port: number) => Promise<{ readonly ask: Ask; readonly close: () => Promise<void> }>
): Promise<Hurt> => {
  const seconds = 4
  const redis = await startRedis()
  const { ask, close } = await open(redis.port)
  try {
    await come(ask, ["before"], offered(1000))
    redis.freeze()
    const frozen = come(ask, ["frozen"], offered(seconds * 1000))
    await setTimeout(seconds * 1000 + 1000)
    redis.thaw()
    const frozenWaits = waits(await frozen)
    await come(ask, ["between"], offered(2000))
    await redis.kill()
    const dead = come(ask, ["dead"], offered(seconds * 1000))
    await setTimeout(seconds * 1000 + 1000)
    await redis.restart()
    const killedWaits = waits(await dead)
    await come(ask, ["between"], offered(2000))
    const spent = await come(ask, ["lost"], offered(1000))
    await redis.kill()
    await setTimeout(300)
    await redis.restart()
    const again = await come(ask, ["lost"], offered(1000))
    return { frozen: frozenWaits, killed: killedWaits, worst: worstOf([...spent, ...again], 4000) / 100 }
  } finally {
    await close()
    await redis.stop()
  }
}
