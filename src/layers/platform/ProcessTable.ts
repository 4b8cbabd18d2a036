/**
 * What the operating system knows of a process. Pids are used again, so a pid in a file proves nothing until
 * the process is compared with what it should be: by when it started, or by what it runs.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"

const ps = (pid: number, column: string): string | undefined => {
  try {
    return execFileSync("ps", ["-o", `${column}=`, "-p", String(pid)], { encoding: "utf8" }).trim() || undefined
  } catch {
    return undefined
  }
}

const proc = (pid: number, file: string): string | undefined => {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, "utf8")
  } catch {
    return undefined
  }
}

const isLinux = process.platform === "linux"

/** When a living process started, in units of its own; undefined when there is none of this pid. */
export const startOf = (pid: number): string | undefined => {
  if (!isLinux) return ps(pid, "lstart")
  // The name, in parentheses, may hold anything; the 20th field behind it is the start (proc(5), starttime is 22nd).
  const stat = proc(pid, "stat")
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")
  return fields === undefined || fields[0] === "Z" ? undefined : fields[19]
}

/** Does this process live, and is `argument` one of the arguments it was started with? */
export const runsWith = (pid: number, argument: string): boolean =>
  isLinux
    ? (proc(pid, "cmdline") ?? "").split("\0").includes(argument)
    : (ps(pid, "command") ?? "").split(" ").includes(argument)
