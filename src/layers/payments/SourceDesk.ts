/**
 * Shows a means of payment: as the provider tells it now, or as it last told it, marked and dated. The one
 * answer of the house that may be old, because nobody acts upon it.
 */
import { Context, Effect, Layer, Option } from "effect"

import { Breaker, type BreakerError, type Fresh, type Stale } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import { KnownSources } from "../../domain/payments/KnownSources.ts"
import { Psp, type PspError, type Source } from "../../domain/payments/Psp.ts"
import { Settings } from "../platform/Settings.ts"
import * as ProviderCalls from "./ProviderCalls.ts"

export class SourceDesk extends Context.Service<
  SourceDesk,
  {
    /** None: there is no such token. */
    readonly find: (
      token: string
    ) => Effect.Effect<Fresh<Option.Option<Source>> | Stale<Option.Option<Source>>, PspError | BreakerError>
  }
>()("cribwork/payments/SourceDesk") {}

const make = Effect.gen(function* () {
  const psp = yield* Psp
  const known = yield* KnownSources
  const breaker = yield* Breaker
  const calls = ProviderCalls.make(yield* Settings)
  yield* (yield* Breakers).declare(calls.dependency)

  const find: SourceDesk["Service"]["find"] = (token) =>
    breaker.read(
      calls.source,
      Effect.tap(psp.source(token), (found) =>
        Option.isSome(found) ? known.remember(token, found.value) : known.forget(token)
      ),
      Effect.flatMap(known.recall(token), (recalled) =>
        Effect.map(Effect.fromOption(recalled), ({ age, value }) => ({ value: Option.some(value), age }))
      )
    )

  return SourceDesk.of({ find })
})

export const layer: Layer.Layer<SourceDesk, PolicyRefused, Psp | KnownSources | Breaker | Breakers | Settings> =
  Layer.effect(SourceDesk, make)
