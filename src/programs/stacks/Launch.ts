/**
 * How every program runs: settings first, then what the program is, until a signal. The first SIGINT or
 * SIGTERM drains and ends with 0; a second one ends at once. A start that fails says why in a sentence and
 * ends with 1, or with 2 when a setting is wrong.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Effect, Layer } from "effect"
import { SqlError } from "effect/sql"

import * as MemoryBreakers from "../../layers/breakers/MemoryBreakers.ts"
import { CurrentProgram } from "../../layers/platform/CurrentProgram.ts"
import { whyOf } from "../../layers/platform/Postgres.ts"
import * as Readiness from "../../layers/platform/Readiness.ts"
import * as Settings from "../../layers/platform/Settings.ts"
import * as Telemetry from "../../layers/platform/Telemetry.ts"
import type { Ground } from "./Stack.ts"

/** What an error says, or what it was caused by, if it says nothing itself. */
const sentenceOf = (error: unknown): string => {
  if (!(error instanceof Error)) return ""
  if ("code" in error && error.code === "EADDRINUSE") {
    return `${error.message}. Set PORT to another; 0 picks a free one.`
  }
  if (error instanceof SqlError.SqlError) return `the database cannot be used: ${whyOf(error)}`
  return error.message === "" ? sentenceOf(error.cause) : error.message
}

/** Failures that a person can mend are told as a sentence; others are ours, and come with their trace. */
const explain = (cause: Cause.Cause<unknown>) =>
  sentenceOf(cause.reasons.find(Cause.isFailReason)?.error) || Cause.pretty(cause)

const exitCode = (cause: Cause.Cause<unknown>) =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof Settings.WrongSettings) ? 2 : 1

/**
 * Ctrl-C reaches a program under npm twice: from the terminal, and forwarded by npm. What comes this soon is
 * the same wish; a person who asks again takes longer.
 */
const sameWishMillis = 500

/** Nothing of ours outlives us: children follow a pipe of this process, which ends with it. */
const endAtOnceWhenAskedTwice = () => {
  let first: number | undefined
  const onSignal = () => {
    first ??= performance.now()
    if (performance.now() - first > sameWishMillis) process.exit(130)
  }
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
}

const grounded = <A, E>(program: string, layer: Layer.Layer<A, E, Ground>) =>
  layer.pipe(
    Layer.provide([Readiness.layer, MemoryBreakers.layer]),
    Layer.provide([Telemetry.layer(program), Layer.succeed(CurrentProgram, program)]),
    Layer.provide(Settings.layer)
  )

const main = <E>(program: string, effect: Effect.Effect<unknown, E>): void =>
  effect.pipe(
    Effect.catchCauseIf(
      (cause) => !Cause.hasInterruptsOnly(cause),
      (cause) =>
        Effect.sync(() => {
          process.stderr.write(`${program}: ${explain(cause)}\n`)
          process.exitCode = exitCode(cause)
        })
    ),
    NodeRuntime.runMain({
      disableErrorReporting: true,
      teardown: (exit, onExit) => onExit(exit._tag === "Success" ? Number(process.exitCode ?? 0) : 0)
    })
  )

/** Runs until it is told to stop. */
export const launch = <A, E>(program: string, layer: Layer.Layer<A, E, Ground>): void => {
  endAtOnceWhenAskedTwice()
  main(program, Layer.launch(grounded(program, layer)))
}

/** Runs to its end. */
export const finish = <A, E>(program: string, layer: Layer.Layer<A, E, Ground>): void =>
  main(program, Effect.scoped(Layer.build(grounded(program, layer))))
