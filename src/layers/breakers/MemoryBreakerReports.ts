/** `BreakerReports` in this process: it hears of no other. */
import { Clock, Duration, Effect, Layer } from "effect"

import {
  BreakerReports,
  culpritsFirst,
  keptFor,
  livingFor,
  type Reporter,
  reportOf,
  reportsListedMax,
  type Seen
} from "../../domain/breakers/BreakerReports.ts"

interface Told {
  readonly reporter: Reporter
  readonly all: ReadonlyArray<Seen>
  readonly seenAtMillis: number
  readonly ended: boolean
}

const make = Effect.sync(() => {
  const told = new Map<string, Told>()

  const isWithin = ({ seenAtMillis }: Told, now: number, duration: Duration.Duration) =>
    now - seenAtMillis < Duration.toMillis(duration)

  const publish: BreakerReports["Service"]["publish"] = (reporter, all) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      for (const [process, one] of told) if (!isWithin(one, now, keptFor)) told.delete(process)
      told.set(reporter.process, {
        reporter,
        all,
        seenAtMillis: now,
        ended: told.get(reporter.process)?.ended ?? false
      })
    })

  const leave: BreakerReports["Service"]["leave"] = ({ process }) =>
    Effect.sync(() => {
      const one = told.get(process)
      if (one !== undefined) told.set(process, { ...one, ended: true })
    })

  const living = Effect.map(Clock.currentTimeMillis, (now) =>
    culpritsFirst(
      [...told.values()]
        .filter((one) => !one.ended && isWithin(one, now, livingFor))
        .flatMap(({ all, reporter, seenAtMillis }) =>
          all.map((seen, rank) => reportOf(reporter, rank, seen, Duration.millis(Math.max(0, now - seenAtMillis))))
        )
        .slice(0, reportsListedMax)
    )
  )

  const knows: BreakerReports["Service"]["knows"] = (name) =>
    Effect.map(Clock.currentTimeMillis, (now) =>
      [...told.values()].some(
        (one) => isWithin(one, now, keptFor) && one.all.some(({ dependency }) => dependency === name)
      )
    )

  return BreakerReports.of({ publish, leave, living, knows })
})

export const layer: Layer.Layer<BreakerReports> = Layer.effect(BreakerReports, make)
