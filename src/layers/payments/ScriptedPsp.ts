/**
 * A `Psp` that plays the tokens of the provider's twin in memory, by the same book: what the twin would
 * capture, decline or leave unanswered, this does too, without a wire. Forgets everything with the process.
 */
import { Context, Duration, Effect, Layer, Option, Schema } from "effect"

import { Busy, Captured, Declined, Invalid, Psp, PspError, Source, Unknown } from "../../domain/payments/Psp.ts"
import * as TwinBook from "./TwinBook.ts"
import * as TwinCards from "./TwinCards.ts"

/** The other side of the double: what was really captured, and the switch of `tok_dead`. */
export class ScriptedBank extends Context.Service<ScriptedBank, Pick<TwinBook.TwinBook, "captured" | "switch">>()(
  "cribwork/payments/ScriptedPsp/ScriptedBank"
) {}

/** A memory that only grows is fine for a test, up to here. */
const keysMax = 100_000

const make = Effect.gen(function* () {
  const book = yield* TwinBook.make({ window: Duration.hours(24), keysMax, entries: [], append: () => {} })

  const capture: Psp["Service"]["capture"] = Effect.fn("Psp.capture")(function* (command) {
    const { pspKey, amount, currency, source, description } = command
    const given = { amount, currency, source, ...(description === undefined ? {} : { description }) }
    const order = yield* Effect.mapError(
      Schema.decodeEffect(TwinBook.Order)(given),
      ({ message }) => new PspError({ reason: new Invalid({ code: "invalid_request", message }) })
    )
    const verdict = verdictOf(yield* book.charge(pspKey, order))
    return verdict._tag === "Captured" ? verdict : yield* new PspError({ reason: verdict })
  })

  const lookup: Psp["Service"]["lookup"] = Effect.fn("Psp.lookup")(function* (pspKey) {
    const settled = yield* book.find(pspKey)
    return Option.map(Option.fromUndefinedOr(settled), settledAs)
  })

  const source: Psp["Service"]["source"] = Effect.fn("Psp.source")(function* (token) {
    return yield* Effect.sync(() => Option.map(Option.fromUndefinedOr(TwinCards.of(token)), sourceOf))
  })

  return Context.make(Psp, Psp.of({ capture, lookup, source })).pipe(Context.add(ScriptedBank, ScriptedBank.of(book)))
})

export const layer: Layer.Layer<Psp | ScriptedBank> = Layer.effectContext(make)

const sourceOf = ({ brand, exp_month, exp_year, last4 }: TwinCards.Card) =>
  new Source({ brand, last4, expMonth: exp_month, expYear: exp_year })

const settledAs = ({ id, amount, currency, state }: TwinBook.Settled) =>
  state === "captured"
    ? new Captured({ ref: id, amount, currency })
    : new Declined({ ...TwinBook.cardDeclined, ref: id })

const verdictOf = (answer: TwinBook.Answer): Captured | PspError["reason"] => {
  switch (answer._tag) {
    case "Settled":
      return answer.silent ? new Unknown({ evidence: "no answer" }) : settledAs(answer.payment)
    case "Busy":
      return new Busy({ retryAfter: Option.some(answer.retryAfter), limited: answer.limited })
    case "KeyReused":
      return new Invalid(TwinBook.keyReused)
    case "SourceUnknown":
      return new Invalid(TwinBook.sourceUnknown)
  }
}
