/**
 * Where the work at hand comes from: the request (or the message) that began it. A log line names it and an
 * outbound call forwards it, also when no span is recorded. It costs a request nothing but this object: ids
 * of the trace are made when somebody asks for them.
 */
import { Context, Effect } from "effect"

const traceparentForm = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

export class Origin {
  readonly requestId: string | undefined
  readonly #given: string | undefined
  readonly #make: () => string
  #traceparent: string | undefined

  /** `given` is what the caller said its W3C `traceparent` is; what is not of that form is not believed. */
  constructor(requestId: string | undefined, given: string | undefined, make: () => string) {
    this.requestId = requestId
    this.#given = given
    this.#make = make
  }

  /** W3C trace context, version 00: the caller's, or our own when it sent none. */
  get traceparent(): string {
    return (this.#traceparent ??=
      this.#given !== undefined && traceparentForm.test(this.#given) ? this.#given : this.#make())
  }

  get traceId(): string {
    return this.traceparent.slice(3, 35)
  }

  get spanId(): string {
    return this.traceparent.slice(36, 52)
  }
}

export const CurrentOrigin = Context.Reference<Origin | undefined>("cribwork/platform/Origin", {
  defaultValue: () => undefined
})

/** What an outbound call sends as `traceparent`: the span at hand if one is recorded, else where the work came from. */
export const traceparent: Effect.Effect<string | undefined> = Effect.withFiber((fiber) => {
  const span = fiber.cache.span
  return Effect.succeed(
    span === undefined
      ? fiber.getRef(CurrentOrigin)?.traceparent
      : `00-${span.traceId.padStart(32, "0")}-${span.spanId}-${span.sampled ? "01" : "00"}`
  )
})

/** Continues the trace of a message or a stored command, for instance in a worker. */
export const continueFrom = (given: string) =>
  Effect.provideService(CurrentOrigin, new Origin(undefined, given, () => given))
