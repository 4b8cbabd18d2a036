/** A payment provider to charge against: real HTTP on loopback, keeps what it captured in a file. Leave it running. */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Effect, Exit, Layer, Logger } from "effect"

import * as PspTwin from "../layers/payments/PspTwin.ts"
import * as Settings from "../layers/platform/Settings.ts"

/** Standard output is for the announcement alone. */
const logs = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])

PspTwin.announce.pipe(
  Effect.provide(PspTwin.layer.pipe(Layer.provideMerge(Settings.layer), Layer.provideMerge(logs))),
  NodeRuntime.runMain({
    // Told to stop, it has done what it was asked to.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1)
  })
)
