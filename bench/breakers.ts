/**
 * Breakers beside opossum, cockatiel and effect's own: what a call costs, what one holds in memory, how many of
 * 1,000 probe a dead dependency at once, and how a server that falls under load comes back. Each contender has a
 * process of its own; those of the first table take turns.
 */
import * as OpenWindow from "../src/domain/breakers/OpenWindow.ts"
import { fleets, random } from "./peers/breakers/Clients.ts"
import { contenders, type Name } from "./peers/breakers/Contenders.ts"
import type { Asked } from "./peers/breakers/cost.ts"
import type { Found } from "./peers/breakers/fleet.ts"
import type { Held } from "./peers/breakers/heap.ts"
import { heard, start, stop } from "./Rounds.ts"

export const packages = ["effect", "opossum", "cockatiel"]

const rounds = 9
const seeds = 1000

export const settings = `${rounds} rounds there and back, 120 ms of CPU each after 20,000 calls of warming; GC between; least of the rounds`

type Costs = Readonly<Record<Name, { readonly closed: number; readonly open: number }>>

const ask = async (child: ReturnType<typeof start>, asked: Asked): Promise<number> => {
  child.send(asked)
  const said = await heard<{ readonly micros: number } | { readonly failed: string }>(child)
  if ("failed" in said) throw new Error(said.failed)
  return said.micros
}

const costs = async (profile: ReadonlyArray<string>): Promise<Costs> => {
  const names = Object.keys(contenders) as ReadonlyArray<Name>
  const children = new Map<Name, ReturnType<typeof start>>()
  const least = Object.fromEntries(names.map((name) => [name, { closed: Infinity, open: Infinity }])) as {
    [N in Name]: { closed: number; open: number }
  }
  try {
    for (const name of names) {
      const child = start("./peers/breakers/cost.ts", { BENCH_CONTENDER: name }, ["--expose-gc", ...profile])
      children.set(name, child)
      await heard(child)
    }
    for (let round = 0; round < rounds; round++) {
      for (const path of ["closed", "open"] as const) {
        for (const [name, child] of round % 2 === 0 ? children : [...children].toReversed()) {
          const micros = await ask(child, { path, warm: round === 0 })
          least[name][path] = Math.min(least[name][path], micros)
        }
      }
    }
  } finally {
    await Promise.all([...children.values()].map(stop))
  }
  return least
}

/** Told once, by a process that ends then. */
const toldBy = async <A>(file: string, contender: string): Promise<A> => {
  const child = start(file, { BENCH_CONTENDER: contender }, ["--expose-gc"])
  try {
    return await heard<A>(child, fleetMax)
  } finally {
    await stop(child)
  }
}

/** A fleet on a busy machine takes a while. */
const fleetMax = 300_000

/** First windows of 1,000 of ours for every seed, drawn as they are; the most in any 100 ms. */
const worstHerd = (): number => {
  const bounds = { windowMillis: 30_000, windowCapMillis: 60_000 }
  let worst = 0
  for (let seed = 1; seed <= seeds; seed++) {
    const chance = random(seed)
    const ends = Array.from({ length: 1000 }, () => OpenWindow.jittered(bounds.windowMillis, bounds, chance()))
    ends.sort((a, b) => a - b)
    for (let from = 0, to = 0; to < ends.length; to++) {
      while ((ends[to] as number) - (ends[from] as number) >= 100) from++
      worst = Math.max(worst, to - from + 1)
    }
  }
  return worst
}

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const met = (measured: number, target: number) => (measured <= target ? "met" : "**missed**")

export const run = async (profile: ReadonlyArray<string>): Promise<string> => {
  const cost = await costs(profile)
  const overOf = (name: Name, path: "closed" | "open") => {
    const base = name === "promise" || name === "effect" ? 0 : cost[baseOf(name)][path]
    return cost[name][path] - base
  }
  const held: Record<string, Held> = {}
  for (const name of ["opossum", "cockatiel", "CircuitBreaker", "ours"]) {
    held[name] = await toldBy<Held>("./peers/breakers/heap.ts", name)
  }
  const found: Record<string, Found> = {}
  for (const name of Object.keys(fleets)) found[name] = await toldBy<Found>("./peers/breakers/fleet.ts", name)

  const ours = held["ours"] as Held
  const fleet = found["ours"] as Found
  const herd = worstHerd()
  return [
    table(
      ["behind", "closed: CPU µs a call", "over the bare call", "refused: CPU µs a call", "over one that fails"],
      (Object.keys(contenders) as ReadonlyArray<Name>).map((name) => [
        name,
        cost[name].closed.toFixed(2),
        overOf(name, "closed").toFixed(2),
        cost[name].open.toFixed(2),
        overOf(name, "open").toFixed(2)
      ])
    ),
    table(
      ["breaker", "heap idle, B", "after 1,000 calls, B", "timers of 300 idle"],
      Object.entries(held).map(([name, { idle, timers, used }]) => [
        name,
        idle.toFixed(0),
        used.toFixed(0),
        String(timers)
      ])
    ),
    table(
      ["fleet", "first probes of 1,000 in the worst 100 ms", "falls after the server is back", "full service after"],
      Object.entries(found).map(([name, { falls, herd, recoveryMillis }]) => [
        name,
        name === "none" ? "–" : String(herd),
        String(falls),
        recoveryMillis === undefined ? "not within 180 s" : `${(recoveryMillis / 1000).toFixed(1)} s`
      ])
    ),
    table(
      ["target", "wanted", "measured", ""],
      [
        ["closed path, core over a bare promise, µs", 0.2, overOf("core", "closed")] as const,
        ["closed path, over a bare effect, µs", 1, overOf("ours", "closed")] as const,
        ["with timeout and deadline, µs", 2, overOf("ours, timeout and deadline", "closed")] as const,
        ["heap idle, KB", 0.3, ours.idle / 1000] as const,
        ["heap after 1,000 calls, KB", 0.6, ours.used / 1000] as const,
        ["timers of 300 idle", 0, ours.timers] as const,
        [`first probes in the worst 100 ms, worst of ${seeds} seeds`, 20, herd] as const,
        ["falls after the server is back", 0, fleet.falls] as const
      ].map(([what, target, measured]) => [
        what,
        `≤ ${target}`,
        Number.isInteger(measured) ? String(measured) : measured.toFixed(2),
        met(measured, target)
      ])
    )
  ].join("\n\n")
}

const baseOf = (name: Name): Name =>
  name === "ours" || name.startsWith("ours,") || name.startsWith("CircuitBreaker") ? "effect" : "promise"
