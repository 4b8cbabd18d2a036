import type { IncomingMessage } from "node:http"

/**
 * Who asks, may they, and have they quota left: the `Authenticated` and `Metered` middlewares. Not Effect's
 * security middleware, which costs a sixth of a short request in decoding what is one header; the document
 * gets its security scheme from `OpenApiDocument`.
 *
 * An address that has spent its budget of failed authentications is refused before any key is looked up.
 */
import { NodeHttpServerRequest } from "@effect/platform-node"
import { Clock, Context, Duration, Effect, Layer } from "effect"
import type { Fiber } from "effect"
import { HttpServerRequest } from "effect/http"

import type { Caller } from "../../domain/access/ApiKey.ts"
import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import { Authenticated, CurrentCaller, Metered, NeededScope } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { Forbidden, QuotaExceeded, Unauthenticated } from "../../domain/api/Problem.ts"
import { Limiter } from "../../domain/limits/Limiter.ts"
import type { Ask } from "../../domain/limits/Limiter.ts"
import { asksFor, asksForAddress, failedAuthentication, plans, publicRoutes } from "../../domain/limits/Plan.ts"
import { Settings } from "../platform/Settings.ts"
import { AddressBook } from "./AddressBook.ts"
import { clientAddress } from "./ClientAddress.ts"

const sourceOf = (fiber: Fiber.Fiber<unknown, unknown>) =>
  NodeHttpServerRequest.toIncomingMessage(
    Context.getUnsafe(
      fiber.context as Context.Context<HttpServerRequest.HttpServerRequest>,
      HttpServerRequest.HttpServerRequest
    )
  ) as IncomingMessage

/** RFC 9110, 11.1: the scheme is case-insensitive, and spaces follow it. */
const bearer = /^bearer +([^\s]+) *$/i

/** The first line of `X-Forwarded-For` alone would be the client's; Node joins them all with a comma. */
const addressOf = (source: IncomingMessage, trustedProxies: number): string => {
  const forwarded = source.headers["x-forwarded-for"]
  return clientAddress(
    source.socket.remoteAddress,
    typeof forwarded === "string" ? forwarded : undefined,
    trustedProxies
  )
}

const make = Effect.gen(function* () {
  const limiter = yield* Limiter
  const keys = yield* ApiKeys
  const { failuresMax, trustedProxies } = yield* Settings
  const budget = failedAuthentication(failuresMax)
  const book = new AddressBook()

  const spent = (millis: number) =>
    new QuotaExceeded({
      detail: "Too many failed authentications from this address.",
      retry_after_ms: Math.ceil(millis),
      violated_policies: [budget.name]
    })

  /** Charges the address for a failure. The last one it may make already closes the door behind it. */
  const charge = (address: string, now: number) =>
    limiter.take({ keys: asksForAddress(budget, address), cost: 1 }).pipe(
      Effect.map(({ quotas }) => {
        const [quota] = quotas
        if (quota?.remaining === 0) book.refuse(address, now, Duration.toMillis(quota.resetAfter))
      }),
      Effect.catchReason("LimiterError", "RateLimited", ({ retryAfter }) =>
        Effect.suspend(() => {
          const millis = Duration.toMillis(retryAfter)
          book.refuse(address, now, millis)
          return Effect.fail(spent(millis))
        })
      ),
      // Who cannot be counted is still not let in.
      Effect.catchTag("LimiterError", () => Effect.void)
    )

  /** Asks the limiter about an address of which this process knows nothing, charging it nothing. */
  const inquire = (address: string, now: number) =>
    limiter.peek({ keys: asksForAddress(budget, address), cost: 1 }).pipe(
      Effect.catchReason("LimiterError", "RateLimited", ({ retryAfter }) =>
        Effect.suspend(() => {
          const millis = Duration.toMillis(retryAfter)
          book.refuse(address, now, millis)
          return Effect.fail(spent(millis))
        })
      ),
      Effect.catchTag("LimiterError", () => Effect.void)
    )

  const rejected = (address: string, now: number, problem: Unauthenticated) =>
    Effect.andThen(charge(address, now), Effect.fail(problem))

  const identify = Effect.fnUntraced(function* (source: IncomingMessage, now: number) {
    const address = addressOf(source, trustedProxies)
    const standing = book.standing(address, now)
    if (typeof standing === "object") return yield* spent(standing.refusedMillis)
    const token = bearer.exec(source.headers.authorization ?? "")?.[1]
    if (token === undefined) {
      return yield* new Unauthenticated({ detail: "Send an API key as `Authorization: Bearer <key>`." })
    }
    if (standing === "unknown") yield* inquire(address, now)
    const caller = yield* keys.authenticate(token).pipe(
      Effect.catchTags({
        UnknownKey: (failure) => rejected(address, now, problemOf(failure)),
        AccessUnavailable: (failure) => Effect.fail(problemOf(failure))
      })
    )
    if (standing === "unknown") book.trust(address, now)
    return caller
  })

  const within = (ask: Ask) =>
    Effect.catchTag(limiter.take(ask), "LimiterError", ({ reason }) =>
      reason._tag === "RateLimited" || reason._tag === "CannotDecide"
        ? Effect.fail(problemOf(reason))
        : Effect.die(reason)
    )

  const authenticated = Authenticated.of((app, { endpoint }) => {
    const scope = Context.get(endpoint.annotations, NeededScope)
    const route = `${endpoint.method} ${endpoint.path}`
    const admit = Effect.fnUntraced(function* (caller: Caller) {
      if (scope !== undefined && !caller.scopes.has(scope)) {
        return yield* new Forbidden({ detail: `This key lacks the scope ${scope}.`, scope })
      }
      yield* within({ keys: asksFor(plans[caller.plan], { tenant: caller.tenant, user: caller.user, route }), cost: 1 })
    })
    return Effect.withFiber((fiber) => {
      const source = sourceOf(fiber)
      const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      return Effect.flatMap(identify(source, now), (caller) =>
        Effect.andThen(admit(caller), Effect.provideService(app, CurrentCaller, caller))
      )
    })
  })

  const metered = Metered.of((app) =>
    Effect.withFiber((fiber) =>
      Effect.andThen(
        within({ keys: asksForAddress(publicRoutes, addressOf(sourceOf(fiber), trustedProxies)), cost: 1 }),
        app
      )
    )
  )

  return Context.make(Authenticated, authenticated).pipe(Context.add(Metered, metered))
})

export const layer = Layer.effectContext(make)
