/** What a command ends with, for scripts: they may rely on these numbers. */
import { Cause, Exit } from "effect"

export const exitCodes = {
  done: { code: 0, means: "Done." },
  failed: { code: 1, means: "Failed for a reason that none of the others names." },
  misused: { code: 2, means: "The command line, a setting or the request is wrong; nothing was done." },
  missing: { code: 3, means: "There is nothing of that id." },
  refused: { code: 4, means: "Not allowed: no such key, a missing scope, or a redrive that could charge twice." },
  unavailable: { code: 5, means: "The server or the database does not answer, or a quota is spent: try again later." },
  interrupted: { code: 130, means: "Interrupted; `serve`, `worker` and `relay` drain and end with 0." }
} as const

export type ExitName = keyof typeof exitCodes

const isExitName = (value: unknown): value is ExitName => typeof value === "string" && value in exitCodes

/** A command succeeds with its exit code, whatever became of it; what fails beyond that is a signal or a bug. */
export const exitOf = <A, E>(exit: Exit.Exit<A, E>): number => {
  if (Exit.isSuccess(exit)) return isExitName(exit.value) ? exitCodes[exit.value].code : 0
  return exitCodes[Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"].code
}
