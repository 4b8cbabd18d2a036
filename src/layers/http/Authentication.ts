import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"

/**
 * Who asks, may they, and have they quota left: the `Authenticated` and `Metered` middlewares. Not Effect's
 * security middleware, which costs a sixth of a short request in decoding what is one header; the document
 * gets its security scheme from `OpenApiDocument`.
 *
 * An address that has spent its budget of failed authentications is refused before any key is looked up. A
 * good key from an address that is known pays for two steps, the key and its quotas, and no generator.
 */
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Clock, Context, Effect, Layer } from "effect"
import type { Fiber, Types } from "effect"
import { HttpServerRequest, type HttpServerResponse } from "effect/http"

import type { Caller } from "../../domain/access/ApiKey.ts"
import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import type { DependencyProblem } from "../../domain/api/Culprit.ts"
import { Authenticated, CurrentCaller, Metered, NeededScope } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import {
  Forbidden,
  isProblem,
  type QuotaExceeded,
  Unauthenticated,
  type Unavailable
} from "../../domain/api/Problem.ts"
import * as RateLimitFields from "../../domain/api/RateLimitFields.ts"
import { Limiter } from "../../domain/limits/Limiter.ts"
import { asksFor, asksForAddress, plans, publicRoutes } from "../../domain/limits/Plan.ts"
import { Settings } from "../platform/Settings.ts"
import { clientAddress } from "./ClientAddress.ts"
import * as FailureBudget from "./FailureBudget.ts"
import * as Quotas from "./Quotas.ts"

const sourceOf = (fiber: Fiber.Fiber<unknown, unknown>) =>
  NodeHttpServerRequest.toIncomingMessage(
    Context.getUnsafe(
      fiber.context as Context.Context<HttpServerRequest.HttpServerRequest>,
      HttpServerRequest.HttpServerRequest
    )
  ) as IncomingMessage

/** We cannot tell: a store of ours is away. */
type Away = DependencyProblem | Unavailable
type Refused = Away | Forbidden | QuotaExceeded | Unauthenticated

/** RFC 9110, 11.1: the scheme is case-insensitive, and spaces follow it. */
const bearer = /^bearer +([^\s]+) *$/i

/** Without proxies in front, an address is its connection's and is read once for all of its requests. */
const addresses = (trustedProxies: number): ((source: IncomingMessage) => string) => {
  if (trustedProxies > 0) {
    return ({ headers, socket }) => {
      const forwarded = headers["x-forwarded-for"]
      const joined = typeof forwarded === "string" ? forwarded : undefined
      return clientAddress(socket.remoteAddress, joined, trustedProxies)
    }
  }
  const known = new WeakMap<Socket, string>()
  return ({ socket }) => {
    const there = known.get(socket)
    if (there !== undefined) return there
    const address = clientAddress(socket.remoteAddress, undefined, 0)
    known.set(socket, address)
    return address
  }
}

/** What each caller pays on one route; callers are remembered as long as their key is. */
const tollsOn = (route: string) => {
  const known = new WeakMap<Caller, Quotas.Toll>()
  return (caller: Caller): Quotas.Toll => {
    const there = known.get(caller)
    if (there !== undefined) return there
    const { tenant, user } = caller
    const toll = Quotas.tollOf({ keys: asksFor(plans[caller.plan], { tenant, user, route }), cost: 1 })
    known.set(caller, toll)
    return toll
  }
}

const publicPolicies = RateLimitFields.policyField([publicRoutes])

const make = Effect.gen(function* () {
  const limiter = yield* Limiter
  const keys = yield* ApiKeys
  const { failuresMax, trustedProxies } = yield* Settings
  const budget = FailureBudget.make(limiter, failuresMax)
  const addressOf = addresses(trustedProxies)

  /** Only a key that nobody has is charged for: that we cannot look is not the client's failure. */
  const lookUp = (token: string, address: string, now: number) =>
    keys.authenticate(token).pipe(
      Effect.tapError((failure) => (failure._tag === "UnknownKey" ? budget.charge(address, now) : Effect.void)),
      Effect.mapError((failure): Refused => (isProblem(failure) ? failure : problemOf(failure)))
    )

  const identify = (source: IncomingMessage, now: number): Effect.Effect<Caller, Refused> => {
    const address = addressOf(source)
    const standing = budget.standing(address, now)
    if (typeof standing === "object") return Effect.fail(budget.spent(standing.refusedMillis))
    const token = bearer.exec(source.headers.authorization ?? "")?.[1]
    if (token === undefined) {
      return Effect.fail(new Unauthenticated({ detail: "Send an API key as `Authorization: Bearer <key>`." }))
    }
    return standing === "trusted"
      ? lookUp(token, address, now)
      : budget.inquire(address, now).pipe(
          Effect.andThen(lookUp(token, address, now)),
          Effect.tap(() => Effect.sync(() => budget.trust(address, now)))
        )
  }

  const authenticated = Authenticated.of((app, { endpoint }) => {
    const scope = Context.get(endpoint.annotations, NeededScope)
    const tollOf = tollsOn(`${endpoint.method} ${endpoint.path}`)
    const admit = (caller: Caller): Effect.Effect<HttpServerResponse.HttpServerResponse, Refused | Types.unhandled> =>
      scope !== undefined && !caller.scopes.has(scope)
        ? Effect.fail(new Forbidden({ detail: `This key lacks the scope ${scope}.`, scope }))
        : Quotas.paid(limiter, tollOf(caller), Effect.provideService(app, CurrentCaller, caller))
    return Effect.withFiber((fiber) =>
      Effect.flatMap(identify(sourceOf(fiber), fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()), admit)
    )
  })

  const metered = Metered.of((app) =>
    Effect.withFiber((fiber) =>
      Quotas.paid(
        limiter,
        { ask: { keys: asksForAddress(publicRoutes, addressOf(sourceOf(fiber))), cost: 1 }, policies: publicPolicies },
        app
      )
    )
  )

  return Context.make(Authenticated, authenticated).pipe(Context.add(Metered, metered))
})

export const layer = Layer.effectContext(make)
