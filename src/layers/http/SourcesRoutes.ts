import { Duration, Effect, Option, Schema } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { SourceNotFound } from "../../domain/api/Problem.ts"
import { Source } from "../../domain/payments/Charge.ts"
import { SourceDesk } from "../payments/SourceDesk.ts"

/** As a charge takes it, so that what was charged can be shown; a card number sent by mistake goes no further. */
const isToken = Schema.is(Source)

export const layer = HttpApiBuilder.group(
  Api,
  "sources",
  Effect.fnUntraced(function* (handlers) {
    const desk = yield* SourceDesk
    return handlers.handle(
      "find",
      Effect.fnUntraced(function* ({ params }) {
        if (!isToken(params.token)) return yield* new SourceNotFound({})
        const found = yield* Effect.mapError(desk.find(params.token), problemOf)
        if (Option.isNone(found.value)) return yield* new SourceNotFound({})
        const { brand, expMonth, expYear, last4 } = found.value.value
        return {
          brand,
          last4,
          exp_month: expMonth,
          exp_year: expYear,
          stale: found._tag === "Stale",
          age_ms: found._tag === "Stale" ? Math.ceil(Duration.toMillis(found.age)) : 0
        }
      })
    )
  })
)
