import { DateTime, Duration, Option } from "effect"

/** Seconds or a date (RFC 9110, 10.2.3); what is neither says nothing. A date that is past means now. */
export const retryAfterOf = (header: string | undefined, nowMillis: number): Option.Option<Duration.Duration> => {
  if (header === undefined) return Option.none()
  if (/^\d{1,9}$/.test(header.trim())) return Option.some(Duration.seconds(Number(header)))
  return Option.map(DateTime.make(header), (date) =>
    Duration.millis(Math.max(0, DateTime.toEpochMillis(date) - nowMillis))
  )
}
