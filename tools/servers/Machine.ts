/**
 * What is installed on this machine, and how to install what is not. Package managers run without a
 * terminal and without a stdin, so none of them can stop to ask.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"

import { during, say } from "./Progress.ts"
import { Trouble } from "./Trouble.ts"

export const isRoot = process.getuid?.() === 0

const outputKept = 64 * 1024

export interface Ran {
  readonly code: number
  /** The end of what it wrote, both streams. */
  readonly output: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly user?: { readonly uid: number; readonly gid: number }
}

export const run = (program: string, args: ReadonlyArray<string>, options: RunOptions = {}): Promise<Ran> =>
  new Promise((resolve) => {
    const child = spawn(program, args, {
      ...options.user,
      cwd: options.cwd ?? "/",
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-outputKept)
    }
    child.stdout.on("data", keep)
    child.stderr.on("data", keep)
    child.once("error", (error) => resolve({ code: 127, output: error.message }))
    child.once("close", (code) => resolve({ code: code ?? 1, output }))
  })

/** The last lines of `output`, indented under the line that explains them. */
export const lastLines = (output: string, lines = 8): string =>
  output
    .trimEnd()
    .split("\n")
    .slice(-lines)
    .map((line) => `    ${line}`)
    .join("\n")

const isProgram = (file: string): boolean => {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return fs.statSync(file).isFile()
  } catch {
    return false
  }
}

/** Debian keeps some servers in folders that a plain user's PATH lacks. */
const alsoLookIn = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin"]

export const which = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(path.delimiter), ...alsoLookIn]
    .filter((dir) => path.isAbsolute(dir))
    .map((dir) => path.join(dir, name))
    .find(isProgram)

export const canInstall = (): boolean => isRoot && which("apt-get") !== undefined

const apt = (...args: ReadonlyArray<string>) =>
  run("apt-get", ["-y", "-o", "DPkg::Lock::Timeout=300", ...args], {
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" }
  })

let updated = false

/** Installs Debian packages; a fresh or stale package list is brought up to date, once. */
export const install = async (...packages: ReadonlyArray<string>): Promise<void> => {
  const names = packages.join(" ")
  const attempt = () => during(`installing ${names}`, () => apt("install", "--no-install-recommends", ...packages))
  say(`  installing ${names} (apt-get)`)
  let ran = await attempt()
  if (ran.code !== 0 && !updated) {
    updated = true
    await during("updating the package list", () => apt("update"))
    ran = await attempt()
  }
  if (ran.code !== 0) throw new Trouble(`apt-get install ${names} failed:\n${lastLines(ran.output)}`)
}
