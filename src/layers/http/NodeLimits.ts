/**
 * The limiter for those who have no Effect, in front of a plain node:http server, of fastify or of Hono.
 *
 *     const limits = await makeLimits({ redisUrl: "redis://127.0.0.1:6379" })
 *     const search = limits.guard<IncomingMessage>([
 *       { name: "search", limit: 5, windowMillis: 10_000, key: (request) => ["acme", userOf(request)] }
 *     ])
 *     createServer(search.node(handler))          // fastify: addHook("onRequest", search.fastify)
 *                                                 // Hono:    app.use(search.hono)
 *
 * All policies of a guard are charged at once or none is; whoever is refused pays nothing. Without a `redisUrl`
 * this process counts alone; with one, a Redis that is away costs a deadline and no request.
 */
import { Array, Context, Duration, Effect, Exit, Layer, Logger, Option, Redacted, Scope } from "effect"

import * as RateLimitFields from "../../domain/api/RateLimitFields.ts"
import { type Ask, Limiter, type LimiterError } from "../../domain/limits/Limiter.ts"
import { type Outage, Policy, PolicyName } from "../../domain/limits/Policy.ts"
import * as MemoryBreakers from "../breakers/MemoryBreakers.ts"
import * as MemoryLimiter from "../limits/MemoryLimiter.ts"
import * as RedisLimiter from "../limits/RedisLimiter.ts"
import { windowsBounds } from "../limits/Windows.ts"
import * as GuardedRedis from "../platform/GuardedRedis.ts"
import * as Redis from "../platform/Redis.ts"

export interface LimitsOptions {
  /** A server, Sentinels or a Cluster, as `REDIS_URL`; left out, this process counts alone. */
  readonly redisUrl?: string
  /** How long one decision may take in Redis before this process decides alone; 40. */
  readonly deadlineMillis?: number
  /** Processes that share these limits, at least; 1. */
  readonly fleet?: number
}

export interface Rule<Request> {
  /** Lower case letters, digits and dashes; counts belong to it. */
  readonly name: string
  /** Most units in any window. */
  readonly limit: number
  readonly windowMillis: number
  /** What to do while Redis is away; `soft`: decide alone, within this process's share. */
  readonly outage?: Outage
  /** Whose use it is, from the widest to the narrowest; undefined for a request that the rule does not count. */
  readonly key: (request: Request) => Array.NonEmptyReadonlyArray<string> | undefined
}

export interface Admitted {
  readonly admitted: true
  readonly headers: Readonly<Record<string, string>>
  /** Gives the units back, for a request that came to nothing. */
  readonly refund: () => Promise<void>
}

/** Everything that its answer needs: 429, or 503 where nobody knows and the policy forbids to guess. */
export interface Refused {
  readonly admitted: false
  readonly status: 429 | 503
  readonly headers: Readonly<Record<string, string>>
  /** application/problem+json, as the draft's `quota-exceeded` and `temporary-reduced-capacity`. */
  readonly body: string
  readonly retryAfterMillis: number
}

/** What of node:http's response is needed. */
interface NodeResponse {
  readonly setHeader: (name: string, value: string) => unknown
  readonly writeHead: (status: number) => { readonly end: (body: string) => unknown }
  readonly destroy: (error: Error) => unknown
}

/** What of fastify's reply is needed. */
interface Reply {
  readonly header: (name: string, value: string) => unknown
  readonly code: (status: number) => unknown
  readonly send: (body: string) => unknown
}

/** What of Hono's context is needed. */
interface HonoContext {
  readonly header: (name: string, value: string) => void
}

export interface Guard<Request> {
  readonly decide: (request: Request, cost?: number) => Promise<Admitted | Refused>
  readonly node: <Response extends NodeResponse>(
    handler: (request: Request, response: Response) => unknown
  ) => (request: Request, response: Response) => void
  readonly fastify: (request: Request, reply: Reply) => Promise<unknown>
  readonly hono: (context: HonoContext & Request, next: () => Promise<void>) => Promise<Response | void>
}

export interface Limits {
  /** Throws when a rule contradicts itself. */
  readonly guard: <Request>(rules: Array.NonEmptyReadonlyArray<Rule<Request>>) => Guard<Request>
  readonly close: () => Promise<void>
}

const limiterOf = ({ deadlineMillis = 40, fleet = 1, redisUrl }: LimitsOptions) => {
  if (redisUrl === undefined) return MemoryLimiter.layer
  const breakers = MemoryBreakers.layerWith({
    failuresMax: 5,
    fleet,
    window: Duration.millis(Math.max(200, 20 * fleet)),
    windowCap: Duration.seconds(10)
  })
  const deadline = Duration.millis(deadlineMillis)
  return RedisLimiter.layerWith({ deadline, fleet, shadow: windowsBounds }).pipe(
    Layer.provide(GuardedRedis.layerWith({ deadline, fleet })),
    Layer.provide(Redis.layer(Redacted.make(redisUrl))),
    Layer.provide(breakers)
  )
}

/** Waits for a first answer of Redis, a second at most; without one it begins alone. */
export const makeLimits = async (options: LimitsOptions = {}): Promise<Limits> => {
  const scope = Scope.makeUnsafe()
  const layer = Layer.provide(limiterOf(options), Logger.layer([]))
  const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))
  const limiter = Context.get(context, Limiter)
  return {
    guard: (rules) => guardOf(limiter, rules),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const guardOf = <Request>(
  limiter: Limiter["Service"],
  rules: Array.NonEmptyReadonlyArray<Rule<Request>>
): Guard<Request> => {
  const policed = rules.map(({ key, ...rule }) => ({ key, policy: policyOf(rule) }))
  const all = RateLimitFields.policyField(policed.map(({ policy }) => policy))

  const decide = async (request: Request, cost = 1): Promise<Admitted | Refused> => {
    const keys = policed.flatMap(({ key, policy }) => {
      const named = key(request)
      return named === undefined ? [] : [{ policy, key: named }]
    })
    if (!Array.isReadonlyArrayNonEmpty(keys)) return { admitted: true, headers: {}, refund: () => Promise.resolve() }
    const ask: Ask = { keys, cost }
    const exit = await Effect.runPromiseExit(limiter.take(ask))
    if (Exit.isSuccess(exit)) {
      const { id, quotas } = exit.value
      return {
        admitted: true,
        headers: { "ratelimit-policy": all, ratelimit: RateLimitFields.limitField(quotas) },
        refund: () => Effect.runPromise(Effect.asVoid(Effect.ignore(limiter.refund({ ...ask, id }))))
      }
    }
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    return refusalOf(error ?? exit.cause, all)
  }

  return {
    decide,
    node: (handler) => (request, response) => {
      const answer = async () => {
        const decision = await decide(request)
        for (const [name, value] of Object.entries(decision.headers)) response.setHeader(name, value)
        if (decision.admitted) await handler(request, response)
        else response.writeHead(decision.status).end(decision.body)
      }
      answer().catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))))
    },
    fastify: async (request, reply) => {
      const decision = await decide(request)
      for (const [name, value] of Object.entries(decision.headers)) reply.header(name, value)
      if (decision.admitted) return undefined
      reply.code(decision.status)
      reply.send(decision.body)
      return reply
    },
    hono: async (context, next) => {
      const decision = await decide(context)
      if (!decision.admitted) return new Response(decision.body, { status: decision.status, headers: decision.headers })
      for (const [name, value] of Object.entries(decision.headers)) context.header(name, value)
      return next()
    }
  }
}

const policyOf = ({ limit, name, outage, windowMillis }: Omit<Rule<never>, "key">): Policy =>
  new Policy({
    name: PolicyName.make(name),
    scope: "route",
    limit,
    window: Duration.millis(windowMillis),
    ...(outage === undefined ? {} : { outage })
  })

/** When nobody knows: soon, since a decision is asked anew each time. */
const askAgainMillis = 1000
const problemTypes = "https://iana.org/assignments/http-problem-types"

const refusalOf = (failure: unknown, policies: string): Refused => {
  const reason = (failure as Partial<LimiterError>).reason
  if (reason?._tag === "RateLimited") {
    const { retryAfter, violated } = reason
    return refusal(
      429,
      Duration.toMillis(retryAfter),
      {
        type: `${problemTypes}#quota-exceeded`,
        title: "Request cannot be satisfied as assigned quota has been exceeded",
        "violated-policies": violated
      },
      { "ratelimit-policy": policies, ratelimit: RateLimitFields.refusedField(violated, retryAfter) }
    )
  }
  if (reason?._tag === "CannotDecide") {
    return refusal(503, askAgainMillis, {
      type: `${problemTypes}#temporary-reduced-capacity`,
      title: "Request cannot be satisfied due to temporary server capacity constraints"
    })
  }
  // A cost that no policy allows is a mistake of the program.
  throw reason ?? failure
}

const refusal = (
  status: 429 | 503,
  retryAfterMillis: number,
  problem: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {}
): Refused => ({
  admitted: false,
  status,
  retryAfterMillis,
  headers: {
    ...headers,
    "content-type": "application/problem+json",
    "retry-after": String(Math.ceil(retryAfterMillis / 1000))
  },
  body: JSON.stringify({ status, ...problem, retry_after_ms: Math.ceil(retryAfterMillis) })
})
