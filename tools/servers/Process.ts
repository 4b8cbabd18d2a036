/**
 * Processes that outlive this one, found again by what they run. A pid alone proves nothing: after a crash
 * or a reboot it may belong to anybody. So a process is ours only when its command line names our folders,
 * and it is looked at again right before each signal.
 */
import { execFileSync, spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"

import { Trouble } from "./Trouble.ts"

export interface Running {
  readonly pid: number
  /** Arguments joined by spaces. */
  readonly line: string
}

export type Owns = (line: string) => boolean

const pollMillis = 50

/** The command line of `pid`; "" when it is gone, or dead and not yet reaped. */
export const commandLine = (pid: number): string => {
  try {
    if (process.platform === "linux") {
      return fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()
    }
    return execFileSync("ps", ["-ww", "-o", "command=", "-p", String(pid)], { encoding: "utf8" }).trim()
  } catch {
    return ""
  }
}

const everyProcess = (): ReadonlyArray<Running> => {
  if (process.platform === "linux") {
    return fs
      .readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((name) => ({ pid: Number(name), line: commandLine(Number(name)) }))
  }
  return execFileSync("ps", ["-axww", "-o", "pid=,command="], { encoding: "utf8", maxBuffer: 64 << 20 })
    .split("\n")
    .map((row) => ({ pid: Number.parseInt(row, 10), line: row.trim().replace(/^\d+\s+/, "") }))
}

/**
 * The processes that `owns` recognises, `most` of them: the recorded ones, or else any, when the record was
 * lost or is stale.
 */
export const findRunning = (owns: Owns, recorded: ReadonlyArray<number>, most: number): ReadonlyArray<Running> => {
  const known = recorded.map((pid) => ({ pid, line: commandLine(pid) })).filter(({ line }) => owns(line))
  if (known.length >= most) return known
  return everyProcess()
    .filter(({ line }) => owns(line))
    .slice(0, most)
}

export interface Command {
  readonly argv: readonly [string, ...ReadonlyArray<string>]
  readonly log: string
  readonly user?: { readonly uid: number; readonly gid: number }
}

/** Starts a process that stays when we leave. The log of the run before is kept beside the new one. */
export const start = async (command: Command): Promise<ChildProcess> => {
  if (fs.existsSync(command.log)) fs.renameSync(command.log, `${command.log}.before`)
  const log = fs.openSync(command.log, "a", 0o600)
  const [program, ...rest] = command.argv
  const child = spawn(program, rest, { ...command.user, cwd: "/", detached: true, stdio: ["ignore", log, log] })
  fs.closeSync(log)
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve)
    child.once("error", (error) => reject(new Trouble(`${program} cannot be run: ${error.message}`)))
  })
  child.unref()
  return child
}

/** The last lines of a log, for a person who asks why. */
export const tail = (file: string, lines = 15): string => {
  try {
    return fs
      .readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .slice(-lines)
      .map((line) => `    ${line}`)
      .join("\n")
  } catch {
    return "    (no log)"
  }
}

const signal = (pid: number, name: NodeJS.Signals) => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") {
      throw new Trouble(`process ${pid} belongs to another user; stop it as that user or as root`)
    }
  }
}

const gone = async (pid: number, owns: Owns, withinMillis: number): Promise<boolean> => {
  for (const end = performance.now() + withinMillis; performance.now() < end; await sleep(pollMillis)) {
    if (!owns(commandLine(pid))) return true
  }
  return false
}

const killedWithinMillis = 10_000

/** Asks with `polite`, insists with KILL after `graceMillis`, and returns once the process is gone. */
export const stop = async (
  pid: number,
  owns: Owns,
  polite: NodeJS.Signals,
  graceMillis: number
): Promise<"stopped" | "killed"> => {
  if (owns(commandLine(pid))) signal(pid, polite)
  if (await gone(pid, owns, graceMillis)) return "stopped"
  signal(pid, "SIGKILL")
  if (await gone(pid, owns, killedWithinMillis)) return "killed"
  throw new Trouble(`process ${pid} survives SIGKILL`)
}
