/** What HTTP counts. Labels are the route's pattern, never a path: a scanner must not fill the registry. */
import { Metric } from "effect"
import type { Context } from "effect"

const description = "Requests answered, by route pattern, method and status."
const latency = "Time from a request's head to its answer, by route pattern."
/** Seconds, as Prometheus wants them: from half a millisecond to the longest wait. */
const boundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

const known = <K, V>(make: (key: K) => V): ((key: K) => V) => {
  const made = new Map<K, V>()
  return (key) => {
    const there = made.get(key)
    if (there !== undefined) return there
    const fresh = make(key)
    made.set(key, fresh)
    return fresh
  }
}

/** Kept by label, because looking a series up by its attributes costs more than the rest of the update. */
const series = known((route: string) => ({
  seconds: Metric.histogram("cribwork_http_request_seconds", {
    description: latency,
    boundaries,
    attributes: { route }
  }),
  answered: known((method: string) =>
    known((status: number) =>
      Metric.counter("cribwork_http_requests_total", {
        description,
        incremental: true,
        attributes: { route, method, status: String(status) }
      })
    )
  )
}))

/** Methods that are counted by name; whatever else a client invents is one label. */
const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

export const answered = (
  context: Context.Context<never>,
  route: string,
  method: string,
  status: number,
  nanos: bigint
): void => {
  const { answered, seconds } = series(route)
  answered(methods.has(method) ? method : "other")(status).updateUnsafe(1, context)
  seconds.updateUnsafe(Number(nanos) / 1e9, context)
}

/** What never became a request: refused by the parser, or a connection above the limit. */
const unparsed = known((reason: string) =>
  Metric.counter("cribwork_http_unparsed_total", {
    description: "Requests and connections refused before they were one, by reason.",
    incremental: true,
    attributes: { reason }
  })
)

export const refused = (context: Context.Context<never>, reason: string): void =>
  unparsed(reason).updateUnsafe(1, context)
