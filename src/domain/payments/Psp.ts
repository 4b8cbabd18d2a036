import { Context, Schema } from "effect"
import type { Effect, Option } from "effect"

/** One capture, said in full each time: every send of it carries the same key and the same bytes. */
export interface Capture {
  /** A uuid of ours. Same key, same money: the provider moves it at most once within its dedupe window. */
  readonly pspKey: string
  /** Minor units of `currency`, a positive safe integer. */
  readonly amount: number
  /** ISO 4217, upper case. */
  readonly currency: string
  readonly source: string
  readonly description?: string | undefined
  /** W3C trace context of the request that asked for it; travels along, is no part of the command. */
  readonly traceparent?: string | undefined
}

/** The money moved. `ref` is the provider's own name for it. */
export class Captured extends Schema.TaggedClass<Captured>()("Captured", {
  ref: Schema.String,
  amount: Schema.Int,
  currency: Schema.String
}) {}

/** What may be shown of a means of payment. */
export class Source extends Schema.Class<Source>("cribwork/payments/Source")({
  brand: Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_-]{0,31}$/)),
  last4: Schema.String.check(Schema.isPattern(/^\d{4}$/)),
  expMonth: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 12 })),
  expYear: Schema.Int.check(Schema.isBetween({ minimum: 1970, maximum: 9999 }))
}) {}

/** No: the provider looked and refused. The money did not and will not move under this key. */
export class Declined extends Schema.TaggedError<Declined>()("Declined", {
  code: Schema.String,
  message: Schema.String,
  ref: Schema.optionalKey(Schema.String)
}) {}

/** Never, as asked: our request, our credentials or our key are wrong. Repeating it changes nothing. */
export class Invalid extends Schema.TaggedError<Invalid>()("Invalid", {
  code: Schema.String,
  message: Schema.String
}) {}

/** Not now, and not executed. `limited` when it is we who ask too much, not the provider who is down. */
export class Busy extends Schema.TaggedError<Busy>()("Busy", {
  retryAfter: Schema.Option(Schema.Duration),
  limited: Schema.Boolean
}) {
  override get message() {
    return this.limited ? "the provider asks us to slow down" : "the provider is busy"
  }
}

/** Not executed, for certain: no byte of the request left this process. */
export class NotSent extends Schema.TaggedError<NotSent>()("NotSent", { cause: Schema.Defect() }) {
  override get message() {
    return "the provider was not reached"
  }
}

/** Don't know: it may have been executed, now or later. Only evidence may turn this into yes or no, never time. */
export class Unknown extends Schema.TaggedError<Unknown>()("Unknown", { evidence: Schema.String }) {
  override get message() {
    return `outcome unknown: ${this.evidence}`
  }
}

export class PspError extends Schema.TaggedError<PspError>()("PspError", {
  reason: Schema.Union([Declined, Invalid, Busy, NotSent, Unknown])
}) {
  override get message() {
    return this.reason.message
  }
}

/**
 * The payment provider.
 *
 * - `capture` succeeds only with the amount and currency that were asked for; anything else that looks like
 *   success is `Unknown`.
 * - One call is at most one request: nothing is retried in here.
 * - A failure is `NotSent`, `Busy`, `Declined` or `Invalid` only with proof; without it, it is `Unknown`.
 */
export class Psp extends Context.Service<
  Psp,
  {
    readonly capture: (command: Capture) => Effect.Effect<Captured, PspError>
    /** What the provider knows of a key. None proves nothing: an earlier send may still be on its way. */
    readonly lookup: (pspKey: string) => Effect.Effect<Option.Option<Captured | Declined>, PspError>
    /** What stands on a card, for people to recognise it by; none if there is no such token. Never `Declined`. */
    readonly source: (token: string) => Effect.Effect<Option.Option<Source>, PspError>
  }
>()("cribwork/payments/Psp") {}
