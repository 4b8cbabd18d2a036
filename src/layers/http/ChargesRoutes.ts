/**
 * Charges. A route that moves money writes its answer itself: what was told once is told again byte by byte,
 * with the key and its dates beside it.
 */
import { Effect, Option, Result } from "effect"
import { HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { ChargeNotFound, IdempotencyKeyNotFound } from "../../domain/api/Problem.ts"
import { ChargeId, type ChargeRequest, statement } from "../../domain/payments/Charge.ts"
import { Charges } from "../../domain/payments/Charges.ts"
import { fingerprint } from "../../domain/payments/Fingerprint.ts"
import { type IdempotencyKey, parse } from "../../domain/payments/IdempotencyKey.ts"
import { IdempotencyStore, type KeyRecord } from "../../domain/payments/IdempotencyStore.ts"
import { type Answer, ChargeIntake } from "../payments/ChargeIntake.ts"
import { CurrentOrigin } from "../platform/Origin.ts"
import { Settings } from "../platform/Settings.ts"
import { chargeAnswer } from "./ChargeAnswer.ts"
import { respond } from "./EdgeProblems.ts"
import { json, listed } from "./Json.ts"
import { isUuid, pageOf } from "./Paging.ts"
import { fitting, preferWait } from "./PreferWait.ts"

/** A refusal, with the key it stands under and the charge it speaks of. */
const under = <E extends Parameters<typeof problemOf>[0]>(key: IdempotencyKey, failure: E) =>
  Effect.map(respond(problemOf(failure)), (response) => {
    const charge = "charge" in failure && typeof failure.charge === "string" ? failure.charge : undefined
    return HttpServerResponse.setHeaders(response, {
      "idempotency-key": key,
      ...(charge === undefined ? {} : { location: `/v1/charges/${charge}` })
    })
  })

const nextAction = (record: KeyRecord) =>
  record.state === "needs_review" ? "review" : Option.isSome(record.nextAttemptAt) ? "attempt" : "none"

export const layer = HttpApiBuilder.group(
  Api,
  "charges",
  Effect.fnUntraced(function* (handlers) {
    const charges = yield* Charges
    const keys = yield* IdempotencyStore
    const intake = yield* ChargeIntake
    const { waitMax } = yield* Settings

    return handlers.handleAll({
      create: Effect.fnUntraced(function* ({ payload, headers }) {
        const { tenant } = yield* CurrentCaller
        const read = parse(headers["idempotency-key"])
        if (Result.isFailure(read)) return yield* respond(problemOf(read.failure))
        const key = read.success
        const request: ChargeRequest = {
          amount: payload.amount,
          currency: payload.currency,
          source: payload.source,
          description: payload.description ?? null,
          orderId: payload.order_id ?? null
        }
        const origin = yield* CurrentOrigin
        const wait = yield* fitting(preferWait(headers.prefer, waitMax))
        const intent = {
          tenant,
          key,
          request,
          fingerprint: fingerprint("POST", "/v1/charges", "1", { ...request }),
          traceparent: Option.fromUndefinedOr(origin?.traceparent)
        }
        return yield* Effect.matchEffect(intake.charge(intent, wait), {
          onFailure: ({ reason }) => under(key, reason),
          onSuccess: (answer: Answer) => Effect.succeed(chargeAnswer(key, answer, wait))
        })
      }),

      find: Effect.fnUntraced(function* ({ params }) {
        if (!isUuid(params.id)) return yield* new ChargeNotFound({})
        const { tenant } = yield* CurrentCaller
        const found = charges.find(tenant, ChargeId.make(params.id))
        return json(statement(yield* Effect.mapError(found, problemOf)))
      }),

      list: Effect.fnUntraced(function* ({ query }) {
        const { tenant } = yield* CurrentCaller
        const page = yield* Effect.mapError(charges.list(tenant, yield* pageOf(query)), problemOf)
        return listed({ rows: page.rows.map(statement), next: page.next })
      }),

      key: Effect.fnUntraced(function* ({ params }) {
        const read = parse(params.key)
        if (Result.isFailure(read)) return yield* new IdempotencyKeyNotFound({})
        const { tenant } = yield* CurrentCaller
        const record = yield* Effect.mapError(keys.inspect(tenant, read.success), problemOf)
        return {
          key: record.key,
          fingerprint_prefix: record.fingerprint.slice(0, 12),
          operation_state: record.state,
          charge: record.charge,
          attempts: record.attempts,
          next_action: nextAction(record),
          next_attempt_at: Option.match(record.nextAttemptAt, { onNone: () => null, onSome: (at) => at.toString() }),
          first_seen_at: record.firstSeen,
          expires_at: record.expires
        } as const
      })
    })
  })
)
