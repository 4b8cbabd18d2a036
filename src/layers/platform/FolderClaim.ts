/**
 * One process a folder: a file in it names the process that uses it. A claim whose process is gone (a crash,
 * a `kill -9`) counts for nothing; a living one is respected, and told apart from a stranger that got its pid.
 */
import * as fs from "node:fs"

import { Data, Effect, Schedule } from "effect"
import type { Scope } from "effect"

import { startOf } from "./ProcessTable.ts"

/** Another process of ours uses this folder. */
export class FolderInUse extends Data.TaggedError("FolderInUse")<{ readonly pid: number }> {}

/** How long a living holder gets to leave: one that was just killed takes a moment to be gone. */
const leavingMax = "2 seconds"
/** How many stale claims are removed in a row: more than one means that others remove and claim too. */
const claimsMax = 10

/** Holds `file` until the scope closes. */
export const folderClaim = (file: string): Effect.Effect<void, FolderInUse, Scope.Scope> => {
  const mine = `${process.pid} ${startOf(process.pid)}`
  const claim = Effect.suspend(() => {
    for (let tries = 0; tries < claimsMax; tries++) {
      if (written(file, mine)) return Effect.void
      const [pid = "", ...start] = read(file).split(" ")
      if (startOf(Number(pid)) === start.join(" ")) return Effect.fail(new FolderInUse({ pid: Number(pid) }))
      fs.rmSync(file, { force: true })
    }
    return Effect.die(new Error(`${file} comes back as often as it is removed`))
  })
  const release = Effect.sync(() => {
    if (read(file) === mine) fs.rmSync(file, { force: true })
  })
  return Effect.acquireRelease(
    Effect.retry(claim, Schedule.upTo(Schedule.spaced("50 millis"), { duration: leavingMax })),
    () => release
  )
}

/** False when the file is there already. */
const written = (file: string, text: string): boolean => {
  try {
    fs.writeFileSync(file, text, { flag: "wx", mode: 0o644 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    throw error
  }
}

const read = (file: string): string => {
  try {
    return fs.readFileSync(file, "utf8")
  } catch {
    return ""
  }
}
