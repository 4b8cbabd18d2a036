/**
 * Limits: what one decision under three keys costs us and our peers on the same Redis, and what a caller gets of
 * what was promised: when he comes at the worst time, comes back when he was told, and when Redis is gone.
 */
import type { ChildProcess } from "node:child_process"

import { schedules } from "./Arrivals.ts"
import type { Hurt, WindowsSeen } from "./Arrivals.ts"
import type { Cost, Name, Shape, Task } from "./decide.ts"
import { houseTable } from "./LimitedHouse.ts"
import { startRedis } from "./RedisProcess.ts"
import { heard, interleaved, median, ratio, start, stop } from "./Rounds.ts"

export const packages = [
  "effect",
  "@effect/platform-node",
  "ioredis",
  "rate-limiter-flexible",
  "rate-limit-redis",
  "@upstash/ratelimit"
]

const rounds = 5
const warmMillis = 200
const millis = 800
/** Before the first round, so that no figure is that of code which is still being compiled. */
const heatMillis = 2500
const inFlights = [1, 64, 512] as const
/** A task that is not over by then hangs. */
const taskMax = 120_000

export const settings = `${rounds} rounds there and back, ${millis} ms each after ${warmMillis} ms of warming; a Redis each, patient clients; as they come where Redis is hurt; 100 tenants of 100 users and 20 routes, windows of 10 s`

const peers = ["rate-limiter-flexible", "rate-limit-redis", "@upstash/ratelimit", "Effect RateLimiter"] as const
const plain = ["cribwork", ...peers] as const
const costly = ["cribwork", "cribwork, each ask alone", ...peers] as const
const hot = ["cribwork", "cribwork, leased", ...peers] as const
const base = "rate-limiter-flexible"

type Workers = Readonly<Record<Name, ChildProcess>>

const done = async <A>(worker: ChildProcess, task: Task): Promise<A> => {
  worker.send(task)
  const said = await heard<{ readonly figures: A } | { readonly failed: string }>(worker, taskMax)
  if ("failed" in said) throw new Error(said.failed)
  return said.figures
}

const costs = <N extends Name>(workers: Workers, names: ReadonlyArray<N>, shape: Shape, inFlight: number) =>
  interleaved<N, Cost>(names, rounds, (name) =>
    done(workers[name], { kind: "cost", shape, inFlight, warmMillis, millis })
  )

const costTable = (
  title: string,
  names: ReadonlyArray<Name>,
  figures: Readonly<Record<string, ReadonlyArray<Cost>>>
): ReadonlyArray<string> => {
  const of = (name: Name) => figures[name] ?? []
  const times = (name: Name, field: "node" | "redis" | "perSecond") =>
    ratio(of(name), of(base), (one, other) => one[field] / other[field]).toFixed(2)
  const middle = (name: Name, field: "node" | "redis" | "perSecond") => median(of(name).map((one) => one[field]))
  return [
    `| ${title} | node µs | × | redis µs | × | decisions/s | × |`,
    "|---|--:|--:|--:|--:|--:|--:|",
    ...names.map(
      (name) =>
        `| ${name} | ${middle(name, "node").toFixed(1)} | ${times(name, "node")} | ${middle(name, "redis").toFixed(1)} | ${times(name, "redis")} | ${Math.round(middle(name, "perSecond"))} | ${times(name, "perSecond")} |`
    ),
    "",
    ...names.flatMap((name) => {
      const alone = of(name).reduce((sum, one) => sum + one.alone, 0)
      return alone === 0 ? [] : [`${name} decided ${alone} times without Redis.`, ""]
    })
  ]
}

/** All at once, since they mostly wait. */
const all = async <A>(workers: Workers, kind: "windows" | "burn" | "goodput" | "hurt") =>
  Object.fromEntries(
    await Promise.all(plain.map(async (name) => [name, await done<A>(workers[name], { kind })] as const))
  ) as Record<(typeof plain)[number], A>

const memoryTable = async (workers: Workers): Promise<ReadonlyArray<string>> => {
  const lines = ["| bytes of Redis a key | 1 unit | 100 units |", "|---|--:|--:|"]
  for (const name of plain) {
    const one = await done<number>(workers[name], { kind: "memory", keys: 200, units: 1 })
    const hundred = await done<number>(workers[name], { kind: "memory", keys: 100, units: 100 })
    lines.push(`| ${name} | ${Math.round(one)} | ${Math.round(hundred)} |`)
  }
  return [...lines, ""]
}

const fairnessTable = async (workers: Workers): Promise<ReadonlyArray<string>> => {
  const seen = await all<WindowsSeen>(workers, "windows")
  const burnt = await all<number>(workers, "burn")
  const good = await all<number>(workers, "goodput")
  return [
    `| worst window ÷ limit | ${Object.keys(schedules).join(" | ")} | wrong refusals | units burnt | goodput |`,
    `|---|${Object.keys(schedules)
      .map(() => "--:|")
      .join("")}--:|--:|--:|`,
    ...plain.map(
      (name) =>
        `| ${name} | ${seen[name].worst.map((one) => one.toFixed(2)).join(" | ")} | ${(seen[name].wrong * 100).toFixed(0)} % | ${burnt[name]} | ${good[name].toFixed(2)} |`
    ),
    ""
  ]
}

const pair = ([p50, max]: readonly [number, number]) => `${p50.toFixed(1)} / ${max.toFixed(0)}`

const hurtTable = async (workers: Workers): Promise<ReadonlyArray<string>> => {
  const figures = await all<Hurt>(workers, "hurt")
  return [
    "| wait ms, p50 / max | Redis frozen for 4 s | dead for 4 s | worst window ÷ limit over the loss |",
    "|---|--:|--:|--:|",
    ...plain.map((name) => {
      const { frozen, killed, worst } = figures[name]
      return `| ${name} | ${pair(frozen)} | ${pair(killed)} | ${worst.toFixed(2)} |`
    }),
    ""
  ]
}

export const run = async (profile: ReadonlyArray<string>): Promise<string> => {
  const names = ["cribwork", "cribwork, each ask alone", "cribwork, leased", ...peers] as const
  // One each: ours would share their limits, since they meet in a Redis.
  const servers = await Promise.all(names.map(startRedis))
  const workers = Object.fromEntries(
    names.map((name, place) => {
      const env = { BENCH_REDIS: String(servers[place]?.port), BENCH_CONTENDER: name }
      return [name, start("./decide.ts", env, name === "cribwork" ? profile : [])]
    })
  ) as Workers
  try {
    const lines = [...(await memoryTable(workers))]
    for (const name of names) {
      for (const shape of ["many", "allowed"] as const) {
        await done(workers[name], { kind: "cost", shape, inFlight: 64, warmMillis: 0, millis: heatMillis })
      }
    }
    for (const inFlight of inFlights) {
      const figures = await costs(workers, costly, "many", inFlight)
      lines.push(...costTable(`three keys, ${inFlight} in flight`, costly, figures))
    }
    const denied = await costs(workers, plain, "denied", 64)
    const wrong = plain.filter((name) => denied[name].slice(1).some(({ allowed }) => allowed > 0))
    lines.push(...costTable("one full key, 64 in flight", plain, denied))
    if (wrong.length > 0) lines.push(`Admitted at the full key: ${wrong.join(", ")}.`, "")
    lines.push(...costTable("one key with room, 64 in flight", hot, await costs(workers, hot, "allowed", 64)))
    lines.push(...(await fairnessTable(workers)), ...(await hurtTable(workers)))
    await Promise.all(Object.values(workers).map(stop))
    lines.push(...(await houseTable(profile)))
    return lines.join("\n").trimEnd()
  } finally {
    await Promise.all(Object.values(workers).map(stop))
    await Promise.all(servers.map((server) => server.stop()))
  }
}
