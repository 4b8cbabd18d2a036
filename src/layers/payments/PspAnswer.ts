/**
 * What an HTTP answer of the provider proves. The line is drawn for money: `Declined`, `Invalid` and `Busy` are
 * said only by answers that a provider gives instead of executing; whatever else comes back, from a proxy's 502
 * to a success we cannot read, leaves the outcome unknown.
 */
import { Option, Result, Schema } from "effect"
import type { Duration } from "effect"

import { Busy, Captured, Declined, Invalid, Source, Unknown } from "../../domain/payments/Psp.ts"

export interface Answer {
  readonly status: number
  readonly retryAfter: Option.Option<Duration.Duration>
  readonly text: string
}

const Failure = Schema.Struct({
  code: Schema.String.check(Schema.isMaxLength(100)),
  message: Schema.String,
  payment: Schema.optionalKey(Schema.String)
})
const Payment = Schema.Struct({
  id: Schema.String,
  psp_key: Schema.String,
  amount: Schema.Int,
  currency: Schema.String,
  state: Schema.Literals(["captured", "declined"]),
  failure: Schema.optionalKey(Failure)
})
type Payment = typeof Payment.Type

const readPayment = Schema.decodeUnknownOption(Schema.fromJsonString(Payment))
const readPayments = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ data: Schema.Array(Payment) })))
const readFailure = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ error: Failure })))

/** Refusals of the request as it stands: schema, credentials, route, key. Not 408, 421, 425: those are about timing. */
const invalidStatuses = new Set([400, 401, 403, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422])

export const ofCapture = (answer: Answer): Captured | Declined | Invalid | Busy | Unknown => {
  const { status } = answer
  if (status === 200 || status === 201) {
    return Option.match(readPayment(answer.text), {
      onNone: () => odd(answer),
      onSome: (payment) => (payment.state === "captured" ? captured(payment) : odd(answer))
    })
  }
  if (status === 402) {
    return Option.match(readFailure(answer.text), {
      onNone: () => odd(answer),
      onSome: ({ error }) => declined(error.code, error.message, error.payment)
    })
  }
  return Option.getOrElse(refused(answer), () => odd(answer))
}

export const ofLookup = (
  answer: Answer,
  pspKey: string
): Result.Result<Option.Option<Captured | Declined>, Invalid | Busy | Unknown> => {
  if (answer.status !== 200) return Result.fail(Option.getOrElse(refused(answer), () => odd(answer)))
  const found = readPayments(answer.text)
  if (Option.isNone(found)) return Result.fail(odd(answer))
  // A filter that the provider ignored would show us other people's money.
  const [payment, ...more] = found.value.data
  if (found.value.data.some(({ psp_key }) => psp_key !== pspKey)) return Result.fail(odd(answer))
  if (payment === undefined) return Result.succeed(Option.none())
  if (more.length > 0) return Result.fail(new Unknown({ evidence: `${more.length + 1} payments under one key` }))
  if (payment.state === "captured") return Result.succeed(Option.some(captured(payment)))
  const { code = "declined", message = "The provider gave no reason." } = payment.failure ?? {}
  return Result.succeed(Option.some(declined(code, message, payment.id)))
}

const Card = Schema.Struct({
  token: Schema.String,
  brand: Source.fields.brand,
  last4: Source.fields.last4,
  exp_month: Source.fields.expMonth,
  exp_year: Source.fields.expYear
})
const readCard = Schema.decodeUnknownOption(Schema.fromJsonString(Card))

export const ofSource = (
  answer: Answer,
  token: string
): Result.Result<Option.Option<Source>, Invalid | Busy | Unknown> => {
  // Only the provider's own word for it: a proxy's 404 shows nothing about a token.
  if (answer.status === 404 && codeOf(answer) === "invalid_source") return Result.succeed(Option.none())
  if (answer.status !== 200) {
    return Result.fail(Option.match(refused(answer), { onNone: () => unread(answer), onSome: wordless }))
  }
  return Option.match(
    Option.filter(readCard(answer.text), (card) => card.token === token),
    {
      onNone: () => Result.fail(unread(answer)),
      onSome: ({ brand, exp_month, exp_year, last4 }) =>
        Result.succeed(Option.some(new Source({ brand, last4, expMonth: exp_month, expYear: exp_year })))
    }
  )
}

/** Without its text, in which the token may stand. */
const unread = ({ status }: Answer) =>
  new Unknown({ evidence: `answered ${status}, which does not describe the source` })

const wordless = (reason: Invalid | Busy) =>
  reason._tag === "Busy" ? reason : new Invalid({ code: reason.code, message: "The provider refused to say." })

/** Answers that mean that nothing was executed. */
const refused = ({ status, retryAfter, text }: Answer): Option.Option<Invalid | Busy> => {
  const failure = readFailure(text)
  const code = codeOf({ status, text })
  if (status === 429) return Option.some(new Busy({ retryAfter, limited: true }))
  // The first request under this key still runs; that is about us, not about the provider's health.
  if (status === 409 && code === "idempotency_key_in_use") return Option.some(new Busy({ retryAfter, limited: true }))
  // Without a time to come back, a 503 may as well come from a proxy that lost the answer.
  if (status === 503 && Option.isSome(retryAfter)) return Option.some(new Busy({ retryAfter, limited: false }))
  if (!invalidStatuses.has(status)) return Option.none()
  const message = Option.match(failure, {
    onNone: () => `The provider answered ${status}.`,
    onSome: ({ error }) => error.message
  })
  return Option.some(new Invalid({ code, message: message.slice(0, messageMax) }))
}

const codeOf = ({ status, text }: Pick<Answer, "status" | "text">): string =>
  Option.match(readFailure(text), { onNone: () => `http_${status}`, onSome: ({ error }) => error.code })

/** What is kept of a provider's words. */
const messageMax = 500

const captured = ({ id, amount, currency }: Payment) => new Captured({ ref: id, amount, currency })

const declined = (code: string, message: string, payment: string | undefined) =>
  new Declined({ code, message: message.slice(0, messageMax), ...(payment === undefined ? {} : { ref: payment }) })

const odd = ({ status, text }: Answer) =>
  new Unknown({ evidence: `answered ${status}: ${text === "" ? "nothing" : text.slice(0, 200)}` })
