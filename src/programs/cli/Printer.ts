/**
 * Where answers and failures go: an answer on standard output, for people or (`--json`) as one JSON document;
 * a failure on standard error, likewise. A reader that leaves early, such as `head`, is no failure.
 */
import { Effect } from "effect"
import { Flag, GlobalFlag } from "effect/cli"

import { type ExitName, exitCodes } from "./ExitCode.ts"
import type { Told } from "./Failure.ts"

/** A flag of every command that answers. */
export const json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON document, on failure to standard error"),
    Flag.withDefault(false)
  )
})

/** Without a listener a closed pipe would end the process with a stack; `write` sees every error by itself. */
export const surviveClosedPipes = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined)
}

/** Waits until the text is out, since a process that exits does not. False when nobody reads any more. */
const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    stream.write(text, (error) => {
      if (error === null || error === undefined) resume(Effect.succeed(true))
      else if (goneReader.has((error as NodeJS.ErrnoException).code ?? "")) resume(Effect.succeed(false))
      else resume(Effect.die(error))
    })
  })

/** How Node calls a reader that left, the first time and afterwards. */
const goneReader = new Set(["EPIPE", "ERR_STREAM_DESTROYED"])

const lines = (document: unknown) => `${JSON.stringify(document, undefined, 2)}\n`

/** The one answer of a command. */
export const answer = Effect.fnUntraced(function* (document: object, text: string) {
  yield* write(process.stdout, (yield* json) ? lines(document) : `${text}\n`)
})

/** One answer of a command that goes on, as a document in a line. False when nobody reads any more. */
export const event = Effect.fnUntraced(function* (document: object, text: string) {
  return yield* write(process.stdout, `${(yield* json) ? JSON.stringify(document) : text}\n`)
})

/** What a person should know beside the answer; programs find it in the document. */
export const remark = Effect.fnUntraced(function* (text: string) {
  if (!(yield* json)) yield* write(process.stderr, `${text}\n`)
})

/** How far long work is, on one line that it keeps; shown to a person who watches, and to nobody else. */
export const progress = (text: string): Effect.Effect<void> =>
  process.stderr.isTTY ? Effect.asVoid(write(process.stderr, `\r\u001B[K${text}`)) : Effect.void

/** On standard output, as it is. */
export const page = (text: string): Effect.Effect<void> => Effect.asVoid(write(process.stdout, `${text}\n`))

/** Says why a command failed, and what the process therefore ends with. */
export const told = (args: ReadonlyArray<string>, failure: Told): Effect.Effect<ExitName> => {
  const { exit, error, message, members } = failure
  const document = { error, message, exit_code: exitCodes[exit].code, ...members }
  const text = wantsJson(args) ? lines(document) : `cribwork: ${message}\n`
  return Effect.as(message === "" ? Effect.void : write(process.stderr, text), exit)
}

/** Read from the command line itself, since a wrong one has no flags yet. */
const wantsJson = (args: ReadonlyArray<string>): boolean => {
  const end = args.indexOf("--")
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === "--json" || arg === "--json=true")
}
