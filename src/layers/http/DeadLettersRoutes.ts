import { DateTime, Effect, Option } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { type DeadLetter as DeadLetterOnWire, redriveMax } from "../../domain/api/DeadLettersApi.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { DeadLetterNotFound, InvalidRequest } from "../../domain/api/Problem.ts"
import { encode } from "../../domain/Cursor.ts"
import { told } from "../../domain/payments/Charge.ts"
import { type DeadLetter, Outbox } from "../../domain/payments/Outbox.ts"
import { DeadLetterDesk } from "../payments/DeadLetterDesk.ts"
import { isUuid, pageOf } from "./Paging.ts"

const onWire = (letter: DeadLetter): typeof DeadLetterOnWire.Type => ({
  id: letter.operation,
  tenant: letter.tenant,
  charge: told(letter.charge),
  idempotency_key: letter.key,
  psp_key: letter.pspKey,
  class: letter.class,
  error: letter.error,
  attempts: letter.attempts,
  buried_at: DateTime.formatIso(letter.buriedAt),
  history: letter.history.map((attempt) => ({
    number: attempt.number,
    started_at: DateTime.formatIso(attempt.startedAt),
    finished_at: Option.getOrNull(Option.map(attempt.finishedAt, DateTime.formatIso)),
    class: attempt.class,
    error: attempt.error
  }))
})

export const layer = HttpApiBuilder.group(
  Api,
  "deadLetters",
  Effect.fnUntraced(function* (handlers) {
    const outbox = yield* Outbox
    const desk = yield* DeadLetterDesk
    return handlers.handleAll({
      list: Effect.fnUntraced(function* ({ query }) {
        const page = yield* Effect.mapError(outbox.deadLetters(yield* pageOf(query)), problemOf)
        return {
          data: page.rows.map(onWire),
          next_cursor: Option.getOrNull(Option.map(page.next, encode))
        }
      }),
      find: Effect.fnUntraced(function* ({ params }) {
        if (!isUuid(params.id)) return yield* new DeadLetterNotFound({})
        return onWire(yield* Effect.mapError(outbox.deadLetter(params.id), problemOf))
      }),
      redrive: Effect.fnUntraced(function* ({ payload }) {
        const stray = payload.charges === "all" ? -1 : payload.charges.findIndex((id) => !isUuid(id))
        if (stray >= 0) {
          return yield* new InvalidRequest({
            errors: [{ in: "body", pointer: `/charges/${stray}`, detail: "Not the id of a dead letter or a charge." }]
          })
        }
        const { keyId } = yield* CurrentCaller
        const request = {
          operations: payload.charges,
          limit: payload.limit ?? redriveMax,
          evidence: payload.after_evidence ?? false
        }
        return yield* Effect.mapError(desk.redrive(request, { actor: keyId, why: payload.reason }), problemOf)
      })
    })
  })
)
