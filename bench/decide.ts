/**
 * One contender in a process of its own, so that its CPU is nobody else's. It does the tasks it is sent, one at a
 * time, on the Redis it is given, or on one of its own where Redis is hurt, and answers with figures.
 */
import { Duration, Effect } from "effect"
import { Redis } from "ioredis"

import { burn, goodput, hurt, windows } from "./Arrivals.ts"
import type { Ask } from "./Arrivals.ts"
import type { Contender, Decide, Open, Segments, Verdict } from "./peers/limits/Contender.ts"
import * as Cribwork from "./peers/limits/Cribwork.ts"
import { open as effects } from "./peers/limits/EffectLimiter.ts"
import { open as flexible } from "./peers/limits/Flexible.ts"
import { open as express } from "./peers/limits/RateLimitRedis.ts"
import { open as upstash } from "./peers/limits/Upstash.ts"

/** A row each; another variant of ours is one more line. */
export const contenders = {
  cribwork: Cribwork.open("cribwork"),
  "cribwork, each ask alone": Cribwork.open("alone", { options: { batchMax: 1, denialsMax: 0 } }),
  "cribwork, leased": Cribwork.open("leased", { policy: { lease: { units: 1000, ttl: Duration.millis(100) } } }),
  "rate-limiter-flexible": flexible,
  "rate-limit-redis": express,
  "@upstash/ratelimit": upstash,
  "Effect RateLimiter": effects
} satisfies Readonly<Record<string, Open>>
export type Name = keyof typeof contenders

/** What keys are asked for: many that have room, one that has, one that is full. */
export type Shape = "many" | "allowed" | "denied"

export type Task =
  | {
      readonly kind: "cost"
      readonly shape: Shape
      readonly inFlight: number
      readonly warmMillis: number
      readonly millis: number
    }
  | { readonly kind: "memory"; readonly keys: number; readonly units: number }
  | { readonly kind: "windows" | "burn" | "goodput" | "hurt" }

export interface Cost {
  readonly perSecond: number
  /** CPU microseconds a decision. */
  readonly node: number
  readonly redis: number
  readonly allowed: number
  /** Decided without Redis. */
  readonly alone: number
}

const port = Number(process.env["BENCH_REDIS"])
const name = process.env["BENCH_CONTENDER"] as Name
const redis = new Redis(port)

/** From Redis itself, in microseconds; its process table counts in hundredths of a second. */
const redisMicros = async () => {
  const info = await redis.info("cpu")
  const of = (field: string) => Number(new RegExp(`${field}:([0-9.]+)`).exec(info)?.[1])
  return (of("used_cpu_user") + of("used_cpu_sys")) * 1e6
}

const [tenants, users, routes] = [100, 100, 20]
let seed = 1
/** xorshift: the same keys in the same order for everybody. */
const draw = (below: number) => {
  seed ^= seed << 13
  seed ^= seed >>> 17
  seed ^= seed << 5
  return (seed >>> 0) % below
}
const anyone = (): Segments => [`t${draw(tenants)}`, `u${draw(users)}`, `r${draw(routes)}`]
const hot: Segments = ["hot"]

const drive = async (
  decide: Decide,
  next: () => Segments,
  inFlight: number,
  millis: number,
  count: (verdict: Verdict) => void
): Promise<void> => {
  const end = performance.now() + millis
  const goes = () => performance.now() < end
  if ("effect" in decide) {
    const loop = Effect.whileLoop({ while: goes, body: () => decide.effect(next()), step: count })
    await Effect.runPromise(
      Effect.forEach(Array.from({ length: inFlight }), () => loop, { concurrency: "unbounded", discard: true })
    )
  } else {
    const loop = async () => {
      while (goes()) count(await decide.promise(next()))
    }
    await Promise.all(Array.from({ length: inFlight }, loop))
  }
}

const askOf =
  (decide: Decide): Ask =>
  (segments) =>
    "effect" in decide ? Effect.runPromise(decide.effect(segments)) : decide.promise(segments)

/** High enough that nobody is refused, low enough that a log is trimmed within a run. */
const roomy = 1_000_000
const shapes = {
  many: { limits: [roomy, roomy, roomy], windowMillis: 10_000, next: anyone },
  allowed: { limits: [roomy], windowMillis: 1000, next: () => hot },
  denied: { limits: [10], windowMillis: 60_000, next: () => hot }
} satisfies Record<Shape, unknown>

const prepared = new Map<Shape, Decide>()
const decideFor = async (contender: Contender, shape: Shape): Promise<Decide> => {
  const before = prepared.get(shape)
  if (before !== undefined) return before
  const { limits, windowMillis } = shapes[shape]
  const decide = await contender.decide(limits, windowMillis)
  prepared.set(shape, decide)
  return decide
}

const cost = async (contender: Contender, task: Task & { readonly kind: "cost" }): Promise<Cost> => {
  const decide = await decideFor(contender, task.shape)
  const { next } = shapes[task.shape]
  await drive(decide, next, task.inFlight, task.warmMillis, () => {})
  let decisions = 0
  let allowed = 0
  let alone = 0
  const redisBefore = await redisMicros()
  const nodeBefore = process.cpuUsage()
  const since = performance.now()
  await drive(decide, next, task.inFlight, task.millis, (verdict) => {
    decisions++
    if (verdict.allowed) allowed++
    if (verdict.alone === true) alone++
  })
  const seconds = (performance.now() - since) / 1000
  const { system, user } = process.cpuUsage(nodeBefore)
  return {
    perSecond: decisions / seconds,
    node: (system + user) / decisions,
    redis: ((await redisMicros()) - redisBefore) / decisions,
    allowed,
    alone
  }
}

/** Bytes of Redis a key that holds so many units, as Redis says itself. */
const memory = async (contender: Contender, keys: number, units: number): Promise<number> => {
  const ask = askOf(await contender.decide([100_000], 600_000))
  for (let key = 0; key < keys; key++) {
    await Promise.all(Array.from({ length: units }, () => ask([`memory-${units}-${key}`])))
  }
  const names = await redis.keys(`*memory-${units}-*`)
  const bytes = await Promise.all(names.map((one) => redis.memory("USAGE", one, "SAMPLES", 0)))
  return bytes.reduce<number>((sum, one) => sum + (one ?? 0), 0) / keys
}

const run = async (contender: Contender, task: Task): Promise<unknown> => {
  const decide = async (limits: ReadonlyArray<number>, windowMillis: number) =>
    askOf(await contender.decide(limits, windowMillis))
  switch (task.kind) {
    case "cost":
      return cost(contender, task)
    case "memory":
      return memory(contender, task.keys, task.units)
    case "windows":
      return windows(decide)
    case "burn":
      return burn(decide)
    case "goodput":
      return goodput(decide)
    case "hurt":
      return hurt(async (port) => {
        const own = await contenders[name](port, true)
        return { ask: askOf(await own.decide([100], 4000)), close: own.close }
      })
  }
}

// A client as it comes writes to the console, and some reject what nobody awaits, when their Redis is gone.
process.on("unhandledRejection", () => {})
if (process.send !== undefined) {
  const contender = await contenders[name](port, false)
  process.on("message", (task: Task) => {
    run(contender, task).then(
      (figures) => process.send?.({ figures }),
      (error: unknown) => process.send?.({ failed: error instanceof Error ? error.stack : String(error) })
    )
  })
  process.on("disconnect", () => process.exit(0))
  process.on("SIGTERM", () => process.exit(0))
}
