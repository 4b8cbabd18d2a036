/** `cribwork` as a person in a shell runs it: a process of its own, and settings that are named. */
import { Effect } from "effect"

import { type Ended, root, run } from "../support/Run.ts"

export const program = `${root}src/programs/cribwork.ts`

export const cribwork = (
  args: ReadonlyArray<string>,
  settings: Readonly<Record<string, string>> = {}
): Effect.Effect<Ended> => Effect.promise(() => run(process.execPath, [program, ...args], root, settings))

/** What a command with `--json` says. */
export const parsed = (text: string) => JSON.parse(text) as Record<string, unknown>
