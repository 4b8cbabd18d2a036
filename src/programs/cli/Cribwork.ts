/** `cribwork` itself: the tree of its commands, and how any of them ends. */
import { readFileSync } from "node:fs"

import { Cause, Effect, Schema } from "effect"
import { Command } from "effect/cli"

import { breakers } from "./Breakers.ts"
import type { ExitName } from "./ExitCode.ts"
import { toldOf, toldOfBug } from "./Failure.ts"
import { keys } from "./Keys.ts"
import { payments } from "./Payments.ts"
import * as Printer from "./Printer.ts"
import * as Processes from "./Processes.ts"

const tree = Command.make("cribwork").pipe(
  Command.withDescription("Runs the programs of the house, and speaks with those that run."),
  Command.withSubcommands([
    { group: "Programs", commands: [Processes.serve, Processes.worker, Processes.relay, Processes.migrate] },
    { group: "Access, in the database", commands: [keys] },
    { group: "Operations, over HTTP", commands: [payments, breakers] }
  ])
)

/** Beside `src` in a clone, beside `dist` in the package: both are three folders up from this file. */
const manifest = new URL("../../../package.json", import.meta.url)
const Manifest = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))
const version = Effect.suspend(() => Schema.decodeEffect(Manifest)(readFileSync(manifest, "utf8"))).pipe(
  Effect.map(({ version }) => version),
  Effect.orDie
)

/** Runs one command line to its end and says how it went: answers on standard output, failures on the other. */
export const cribwork = Effect.fnUntraced(
  function* (args: ReadonlyArray<string>) {
    Printer.surviveClosedPipes()
    yield* Command.runWith(tree, { version: yield* version })(args)
    return "done" as ExitName
  },
  (effect, args) =>
    effect.pipe(
      Effect.catch((failure) => Printer.told(args, toldOf(failure))),
      Effect.catchCauseIf(Cause.hasDies, (cause) => Printer.told(args, toldOfBug(cause)))
    )
)
