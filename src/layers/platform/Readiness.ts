/**
 * Whether this process should be sent requests. Whoever depends on a server registers a check under its
 * name, for as long as its scope is open; checks run side by side, each within `checkMax`, and their answer
 * is believed for `freshFor`, so that a crowd of probers asks a database no more than four times a second.
 */
import { Context, Duration, Effect, Layer, Ref } from "effect"
import type { Scope } from "effect"

import * as Deadline from "../../domain/Deadline.ts"

export interface Checked {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

export class Readiness extends Context.Service<
  Readiness,
  {
    /** `check` succeeds when the dependency answered; why it failed goes to the log and not to the prober. */
    readonly register: <E>(name: string, check: Effect.Effect<unknown, E>) => Effect.Effect<void, never, Scope.Scope>
    /** In the order of registration. */
    readonly report: Effect.Effect<ReadonlyArray<Checked>>
    /** From now on, or until the process ends, it is not ready: it is stopping. */
    readonly stop: Effect.Effect<void>
    readonly isStopping: () => boolean
  }
>()("cribwork/platform/Readiness") {}

/** A dependency that needs longer is not one to send requests to. */
export const checkMax = Duration.seconds(1)
const freshFor = Duration.millis(250)

const make = Effect.gen(function* () {
  const checks = yield* Ref.make<ReadonlyArray<{ readonly name: string; readonly run: Effect.Effect<Checked> }>>([])
  let stopping = false

  const register: Readiness["Service"]["register"] = (name, check) => {
    const run = check.pipe(
      Effect.timeoutOrElse({ duration: checkMax, orElse: () => Effect.fail("no answer in time" as const) }),
      Effect.as<Checked>({ name, ready: true }),
      Effect.catchCause((cause) =>
        Effect.as(Effect.logWarning(`${name} is not ready`, cause), { name, ready: false, detail: "does not answer" })
      )
    )
    const entry = { name, run }
    return Effect.asVoid(
      Effect.acquireRelease(
        Ref.update(checks, (all) => [...all, entry]),
        () => Ref.update(checks, (all) => all.filter((one) => one !== entry))
      )
    )
  }

  const ask = Ref.get(checks).pipe(
    Effect.flatMap((all) => Effect.forEach(all, ({ run }) => run, { concurrency: "unbounded" })),
    // The next prober is told the same, however little time this one has.
    Deadline.lifted
  )
  const remembered = yield* Effect.cachedWithTTL(ask, freshFor)
  const self: Checked = { name: "this process", ready: false, detail: "is stopping" }

  return Readiness.of({
    register,
    report: Effect.map(remembered, (all) => (stopping ? [self, ...all] : all)),
    stop: Effect.sync(() => {
      stopping = true
    }),
    isStopping: () => stopping
  })
})

export const layer = Layer.effect(Readiness, make)
