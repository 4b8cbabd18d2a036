/** How long an order holds, as a person types it: `30s`, `10m`, `2h`. */
import { Data, Duration, Option } from "effect"
import { Flag } from "effect/cli"

import { forcedMax } from "../../domain/breakers/ForcedStates.ts"

/** An end for what needs one, and none for what has none. */
export class ForceHowLong extends Data.TaggedError("ForceHowLong") {
  override get message(): string {
    return "For how long? `open` and `closed` need --for, such as --for 10m; `auto` has no end."
  }
}

const units = { s: Duration.seconds, m: Duration.minutes, h: Duration.hours }

/** `None` for what is no such text, is nothing, or is longer than orders may last. */
export const lastingOf = (text: string): Option.Option<Duration.Duration> => {
  const [, count, unit] = /^(\d{1,6})([smh])$/.exec(text) ?? []
  if (count === undefined) return Option.none()
  return Option.some(units[unit as keyof typeof units](Number(count))).pipe(
    Option.filter(
      (read) => Duration.isGreaterThan(read, Duration.zero) && Duration.isLessThanOrEqualTo(read, forcedMax)
    )
  )
}

export const lasting = Flag.String("for").pipe(
  Flag.filterMap(lastingOf, (text) => `Expected a time such as 30s, 10m or 2h, up to 24h, not "${text}"`),
  Flag.withMetavar("<time>"),
  Flag.optional,
  Flag.withDescription("How long the order holds: 30s, 10m, 2h, up to 24h; needed unless the state is auto")
)
