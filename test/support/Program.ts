/**
 * Programs of ours as processes of their own, started as a shell would and seen from outside: what they say,
 * how they end, and whom they leave behind. A test file that starts one calls `endAll` when it is done.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"

import { root } from "./Run.ts"

export type Environment = Readonly<Record<string, string>>

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const living = new Set<Program>()

export class Program {
  readonly #child: ChildProcess
  #said = ""
  #listeners = new Set<() => void>()
  #ending: Ending | undefined
  readonly ended: Promise<Ending>

  /** In an environment that holds nothing but `env` and what finds programs. */
  constructor(name: string, env: Environment, args: ReadonlyArray<string> = []) {
    const { PATH = "", HOME = "" } = process.env
    const file = fileURLToPath(new URL(`src/programs/${name}.ts`, new URL(`file://${root}/`)))
    this.#child = spawn(process.execPath, [file, ...args], {
      cwd: root,
      env: { PATH, HOME, LOG_FORMAT: "json", ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      output?.setEncoding("utf8").on("data", (text: string) => {
        this.#said += text
        this.#listeners.forEach((listener) => listener())
      })
    }
    living.add(this)
    this.ended = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        this.#ending = { code, signal }
        living.delete(this)
        resolve(this.#ending)
        this.#listeners.forEach((listener) => listener())
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** All that it has said, on both outputs. */
  get said(): string {
    return this.#said
  }

  get runs(): boolean {
    return this.#ending === undefined
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async stop(name: NodeJS.Signals = "SIGTERM"): Promise<Ending> {
    this.signal(name)
    return this.ended
  }

  /** Waits until it has said this, and fails when it ends before. */
  hears(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(this.#said)
        if (match !== null) resolve(match)
        else if (this.#ending === undefined) return
        else reject(new Error(`it ended (${JSON.stringify(this.#ending)}) without ${pattern}:\n${this.#said}`))
        this.#listeners.delete(look)
      }
      this.#listeners.add(look)
      look()
    })
  }
}

export const endAll = async (): Promise<void> => {
  await Promise.all([...living].map((program) => program.stop("SIGKILL")))
}

const read = (file: string): string => {
  try {
    return fs.readFileSync(file, "utf8")
  } catch {
    return ""
  }
}

export interface Seen {
  readonly pid: number
  readonly command: string
}

/** Living processes that were told of this path, in an argument or in a variable; elsewhere than on Linux by argument only. */
export const processesOf = (path: string): ReadonlyArray<Seen> => {
  if (process.platform !== "linux") {
    return execFileSync("ps", ["-axo", "pid=,command="], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.includes(path))
      .map((line) => ({ pid: Number.parseInt(line, 10), command: line.trim() }))
  }
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map((pid) => ({
      pid: Number(pid),
      command: read(`/proc/${pid}/cmdline`).replaceAll("\0", " "),
      variables: read(`/proc/${pid}/environ`)
    }))
    .filter(({ command, variables }) => command.includes(path) || variables.includes(path))
    .map(({ pid, command }) => ({ pid, command }))
}

/** Asks again until it is so. What takes longer than `withinMillis` is not coming. */
export const until = async <A>(
  what: string,
  withinMillis: number,
  ask: () => A | undefined | false | Promise<A | undefined | false>
): Promise<A> => {
  const end = performance.now() + withinMillis
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > end) throw new Error(`not within ${withinMillis} ms: ${what}`)
    await pause(20)
  }
}
