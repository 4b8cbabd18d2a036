import { Duration, Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import type { AskLimits, LimitsPeek } from "../../domain/api/LimitsApi.ts"
import { type Grant, Limiter, type LimiterError, type RateLimited } from "../../domain/limits/Limiter.ts"
import { Policies } from "../../domain/limits/Policies.ts"
import * as ServiceAsk from "../../domain/limits/ServiceAsk.ts"

const asked = Effect.fnUntraced(function* (
  { current }: Policies["Service"],
  { cost = 1, id, policies, ...subject }: typeof AskLimits.Type
) {
  const keys = ServiceAsk.keysFor(yield* CurrentCaller, subject, policies, yield* current)
  return { keys: yield* Effect.mapError(Effect.fromResult(keys), problemOf), cost, id }
})

const granted = ({ quotas, source }: Grant): typeof LimitsPeek.Type => ({
  allowed: true,
  remaining: quotas.map(({ policy, remaining }) => ({ policy: policy.name, remaining })),
  retry_after_ms: 0,
  violated_policies: [],
  source
})

/** No room for one unit is nothing left; of a refusal that costs more it is not known how much is. */
const refused = ({ retryAfter, source, violated }: RateLimited, cost: number): typeof LimitsPeek.Type => ({
  allowed: false,
  remaining: cost === 1 ? violated.map((policy) => ({ policy, remaining: 0 })) : [],
  retry_after_ms: Math.ceil(Duration.toMillis(retryAfter)),
  violated_policies: violated,
  source
})

/** "No" is an answer; "don't know" and "never" are problems. */
const answered = <A, B>(
  decision: Effect.Effect<Grant, LimiterError>,
  onYes: (grant: Grant) => A,
  onNo: (no: RateLimited) => B
) =>
  Effect.matchEffect(decision, {
    onSuccess: (grant) => Effect.succeed<A | B>(onYes(grant)),
    onFailure: ({ reason }) =>
      reason._tag === "RateLimited" ? Effect.succeed<A | B>(onNo(reason)) : Effect.fail(problemOf(reason))
  })

const problemIn = ({ reason }: LimiterError) => problemOf(reason)

export const layer = HttpApiBuilder.group(
  Api,
  "limits",
  Effect.fnUntraced(function* (handlers) {
    const limiter = yield* Limiter
    const offered = yield* Policies
    return handlers.handleAll({
      take: Effect.fnUntraced(function* ({ payload }) {
        const ask = yield* asked(offered, payload)
        return yield* answered(
          limiter.take(ask),
          (grant) => ({ id: grant.id, ...granted(grant) }),
          (no) => ({ id: payload.id ?? null, ...refused(no, ask.cost) })
        )
      }),
      peek: Effect.fnUntraced(function* ({ payload }) {
        const ask = yield* asked(offered, payload)
        return yield* answered(limiter.peek(ask), granted, (no) => refused(no, ask.cost))
      }),
      refund: Effect.fnUntraced(function* ({ payload }) {
        const { id } = payload
        const ask = yield* asked(offered, payload)
        return { id, refunded: yield* Effect.mapError(limiter.refund({ ...ask, id }), problemIn) }
      })
    })
  })
)
