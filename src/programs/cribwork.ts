#!/usr/bin/env node
/** The command line of the house: its programs, its API keys, and its payments over HTTP. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, Logger, References } from "effect"
import { CliConfig, CliOutput, GlobalFlag } from "effect/cli"

import { cribwork } from "./cli/Cribwork.ts"
import { exitOf } from "./cli/ExitCode.ts"
import * as Help from "./cli/Help.ts"

/** Standard output is for answers alone. */
const ground = Layer.mergeAll(
  NodeServices.layer,
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
  CliOutput.layerPresenter(Help.presenter),
  Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]),
  Layer.succeed(References.MinimumLogLevel, "Warn")
)

cribwork(process.argv.slice(2)).pipe(
  Effect.provide(ground),
  NodeRuntime.runMain({ disableErrorReporting: true, teardown: (exit, end) => end(exitOf(exit)) })
)
