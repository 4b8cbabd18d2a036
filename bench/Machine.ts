/** What the figures depend on and what they are read from: this machine, and its process table. */
import { readdirSync, readFileSync } from "node:fs"
import { cpus, loadavg, totalmem } from "node:os"

/** Linux counts a process's time in hundredths of a second. */
const microsPerTick = 10_000

interface Stat {
  readonly parent: number
  /** Its own time; and that of its children which have ended. */
  readonly own: number
  readonly ended: number
}

/** proc(5): the name in parentheses may hold anything, so that fields are counted behind the last one. */
const statOf = (pid: number | string): Stat | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = text
      .slice(text.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number)
    const [, parent = 0] = fields
    const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15)
    return { parent, own: user + system, ended: endedUser + endedSystem }
  } catch {
    return undefined // It ended while we looked.
  }
}

/** CPU time that a process has used so far, or, as a `family`, with all that it started, alive or not. */
export const cpuMicros = (pid: number, family: boolean): number => {
  if (!family) return (statOf(pid)?.own ?? 0) * microsPerTick
  const table = new Map<number, Stat>()
  for (const entry of readdirSync("/proc")) {
    const stat = /^\d+$/.test(entry) ? statOf(entry) : undefined
    if (stat !== undefined) table.set(Number(entry), stat)
  }
  const isInside = (one: number): boolean => {
    const stat = table.get(one)
    return one === pid || (stat !== undefined && isInside(stat.parent))
  }
  let ticks = 0
  for (const [one, { ended, own }] of table) if (isInside(one)) ticks += own + ended
  return ticks * microsPerTick
}

/** The process that started it. */
export const parentOf = (pid: number): number => statOf(pid)?.parent ?? 0

const versionOf = (name: string) =>
  (
    JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), "utf8")) as {
      readonly version: string
    }
  ).version

/** One line, for whoever compares two runs. */
export const describeMachine = (packages: ReadonlyArray<string>): string => {
  const [first, ...rest] = cpus()
  const versions = packages.map((name) => `${name} ${versionOf(name)}`).join(", ")
  const load = loadavg()
    .map((one) => one.toFixed(1))
    .join(" ")
  const memory = `${Math.round(totalmem() / 2 ** 30)} GB`
  return `${1 + rest.length} × ${first?.model.trim() ?? "unknown"}, ${memory}, load ${load} before the run; Node ${process.versions.node}, ${versions}`
}
