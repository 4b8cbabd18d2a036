/**
 * Makes this process obey what operators order of breakers, and tells the others of its own. Orders are known
 * before whatever is built upon this layer begins, and asked for about once a second from then on: asking is
 * the guarantee, and at that pace costs less than a subscription that would have to be checked on. While
 * they cannot be read the last known ones are obeyed until they end; a process that never read any knows none.
 */
import { hostname } from "node:os"

import { DateTime, Duration, Effect, Latch, Layer, Random, Stream } from "effect"

import { BreakerReports, type Reporter } from "../../domain/breakers/BreakerReports.ts"
import { Breakers } from "../../domain/breakers/Breakers.ts"
import { type ForcedState, ForcedStates } from "../../domain/breakers/ForcedStates.ts"
import { CurrentProgram } from "../platform/CurrentProgram.ts"

/** A look takes so long at most, and the pause before it 1.1 s: an order is obeyed within two seconds. */
const lookMax = Duration.millis(800)
const pause = { least: Duration.millis(700), spread: Duration.millis(400) }

/** Without a change; a fifth of the time after which a silent process is taken for dead. */
const heartbeat = { least: Duration.millis(2500), spread: Duration.millis(1000) }
/** Between two reports, however much changes. */
const reportGap = Duration.millis(100)
const reportMax = Duration.seconds(2)
/** Whoever stops does not wait longer than this to say so. */
const leaveMax = Duration.seconds(1)

const drawn = ({ least, spread }: typeof pause) =>
  Effect.map(Random.next, (chance) => Duration.sum(least, Duration.times(spread, chance)))

/** Another one after each start; the draw is for two containers that share a name and have both the process 1. */
const newReporter: Effect.Effect<Reporter> = Effect.gen(function* () {
  const drawn = yield* Random.nextIntBetween(0, 0xff_ff_ff)
  return {
    process: `${hostname()}:${process.pid}:${drawn.toString(16).padStart(6, "0")}`,
    program: yield* CurrentProgram
  }
})

const make = Effect.gen(function* () {
  const breakers = yield* Breakers
  const states = yield* ForcedStates
  const reports = yield* BreakerReports
  const reporter = yield* newReporter
  const obeyed = new Map<string, ForcedState>()
  let isReached = true

  const obey = Effect.fnUntraced(function* (active: ReadonlyArray<ForcedState>) {
    const now = yield* DateTime.now
    for (const forced of active) {
      if (isSame(obeyed.get(forced.dependency), forced)) continue
      // By our clock, which may differ from the one it was ordered by.
      yield* breakers.force(forced.dependency, { to: forced.to, until: DateTime.addDuration(now, forced.left) })
      obeyed.set(forced.dependency, forced)
    }
    const named = new Set(active.map(({ dependency }) => dependency))
    for (const dependency of obeyed.keys()) {
      if (named.has(dependency)) continue
      yield* breakers.force(dependency, undefined)
      obeyed.delete(dependency)
    }
  })

  const look = states.active.pipe(
    Effect.timeout(lookMax),
    Effect.flatMap(obey),
    Effect.andThen(
      Effect.suspend(() => {
        if (isReached) return Effect.void
        isReached = true
        return Effect.logInfo("Orders about breakers can be read again.")
      })
    ),
    Effect.catchCause((cause) => {
      if (!isReached) return Effect.void
      isReached = false
      return Effect.logWarning("Orders about breakers cannot be read: the last known ones are obeyed.", cause)
    })
  )

  const changed = yield* Latch.make(false)
  const report = breakers.snapshots.pipe(
    Effect.flatMap((all) => reports.publish(reporter, all)),
    Effect.timeout(reportMax),
    Effect.catchCause((cause) => Effect.logDebug("A report on breakers was not kept.", cause))
  )
  const untilChanged = Effect.flatMap(drawn(heartbeat), (longest) => Effect.timeoutOption(changed.await, longest))

  yield* look
  yield* Effect.addFinalizer(() => reports.leave(reporter).pipe(Effect.timeoutOption(leaveMax), Effect.ignore))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.flatMap(drawn(pause), Effect.sleep), look)))
  yield* Effect.forkScoped(Stream.runForEach(breakers.changes, () => changed.open))
  yield* Effect.forkScoped(
    Effect.forever(Effect.all([changed.close, report, Effect.sleep(reportGap), untilChanged], { discard: true }))
  )
})

export const layer: Layer.Layer<never, never, Breakers | ForcedStates | BreakerReports> = Layer.effectDiscard(make)

const isSame = (one: ForcedState | undefined, other: ForcedState): boolean =>
  one !== undefined && one.to === other.to && DateTime.Equivalence(one.until, other.until)
