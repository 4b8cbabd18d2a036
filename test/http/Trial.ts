/** An api with a route for each way a route can end, behind the house's own door, on a real server. */
import { createConnection } from "node:net"

import { ConfigProvider, Duration, Effect, Fiber, identity, Layer, Logger, Redacted, Schema } from "effect"
import { HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"

import type { NewApiKey } from "../../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { strictness } from "../../src/domain/api/Api.ts"
import {
  Authenticated,
  Bodied,
  CurrentCaller,
  Edge,
  InvalidAs,
  Metered,
  NeededScope
} from "../../src/domain/api/Edge.ts"
import { problemOf } from "../../src/domain/api/Failure.ts"
import * as Problem from "../../src/domain/api/Problem.ts"
import { type ProblemName, problemNames } from "../../src/domain/api/ProblemTable.ts"
import { Breaker, type BreakerError } from "../../src/domain/breakers/Breaker.ts"
import type * as Circuit from "../../src/domain/breakers/Circuit.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as Deadline from "../../src/domain/Deadline.ts"
import { TenantId, UserId } from "../../src/domain/Ids.ts"
import type { Limiter } from "../../src/domain/limits/Limiter.ts"
import { LedgerUnavailable } from "../../src/domain/payments/Ledger.ts"
import * as MemoryApiKeys from "../../src/layers/access/MemoryApiKeys.ts"
import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Authentication from "../../src/layers/http/Authentication.ts"
import * as EdgeProblems from "../../src/layers/http/EdgeProblems.ts"
import * as Server from "../../src/layers/http/Server.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"
import { traceparent } from "../../src/layers/platform/Origin.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"

const errors = [{ in: "body", pointer: "/amount", detail: "wrong" }] as const

/** One of each problem. A row without a sample does not compile, so that no problem goes untried. */
export const samples: { readonly [N in ProblemName]: Problem.Problem & { readonly _tag: N } } = {
  "malformed-request": new Problem.MalformedRequest({}),
  "malformed-json": new Problem.MalformedJson({}),
  unauthenticated: new Problem.Unauthenticated({}),
  forbidden: new Problem.Forbidden({ scope: "ops:read" }),
  "not-found": new Problem.NotFound({}),
  "method-not-allowed": new Problem.MethodNotAllowed({}),
  "request-timeout": new Problem.RequestTimeout({}),
  "payload-too-large": new Problem.PayloadTooLarge({}),
  "uri-too-long": new Problem.UriTooLong({}),
  "unsupported-media-type": new Problem.UnsupportedMediaType({}),
  "expectation-failed": new Problem.ExpectationFailed({}),
  "invalid-request": new Problem.InvalidRequest({ errors }),
  "precondition-failed": new Problem.PreconditionFailed({}),
  "precondition-required": new Problem.PreconditionRequired({}),
  "quota-exceeded": new Problem.QuotaExceeded({ retry_after_ms: 1001, violated_policies: ["tenant"] }),
  "headers-too-large": new Problem.HeadersTooLarge({}),
  internal: new Problem.Internal({}),
  unavailable: new Problem.Unavailable({ retry_after_ms: 1500 }),
  "dependency-unavailable": new Problem.DependencyUnavailable({
    dependency: "redis",
    path: ["postgres", "redis"],
    retry_after_ms: 7
  }),
  "deadline-too-short": new Problem.DeadlineTooShort({ dependency: "psp", path: ["psp"], needs_ms: 10, left_ms: 0 }),
  "dependency-timeout": new Problem.DependencyTimeout({ dependency: "psp", path: ["psp"] }),
  "not-ready": new Problem.NotReady({ dependencies: [{ name: "postgres", ready: false }] }),
  overloaded: new Problem.Overloaded({ retry_after_ms: 1 }),
  "idempotency-key-missing": new Problem.IdempotencyKeyMissing({}),
  "idempotency-key-invalid": new Problem.IdempotencyKeyInvalid({}),
  "idempotency-key-reused": new Problem.IdempotencyKeyReused({}),
  "operation-in-progress": new Problem.OperationInProgress({ retry_after_ms: 1000 }),
  "operation-result-expired": new Problem.OperationResultExpired({}),
  "order-already-charged": new Problem.OrderAlreadyCharged({ charge: "ch_1" }),
  "invalid-charge": new Problem.InvalidCharge({ errors }),
  "card-declined": new Problem.CardDeclined({
    charge: "c",
    id: "c",
    operation_state: "failed",
    amount: 1,
    currency: "USD",
    source: "tok_declined",
    description: null,
    order_id: null,
    created_at: "2026-01-01T00:00:00.000Z",
    failure: { code: "card_declined", message: "The card was declined." }
  }),
  "insufficient-funds": new Problem.InsufficientFunds({ charge: null, short_by: 7 }),
  "account-limit": new Problem.AccountLimit({ charge: null }),
  "charge-not-found": new Problem.ChargeNotFound({}),
  "source-not-found": new Problem.SourceNotFound({}),
  "account-not-found": new Problem.AccountNotFound({}),
  "dead-letter-not-found": new Problem.DeadLetterNotFound({}),
  "breaker-not-found": new Problem.BreakerNotFound({}),
  "idempotency-key-not-found": new Problem.IdempotencyKeyNotFound({})
}

const Thing = Schema.Struct({ id: Schema.String, amount: Schema.Int, tenant: Schema.String })
const body = Schema.Struct({ amount: Schema.Int, "a/b~c": Schema.optionalKey(Schema.Int) })
const limit = Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 100 }))

/** More than the buffers between two sides hold. */
export const bigBytes = 32_000_000

const guarded = HttpApiGroup.make("things")
  .add(
    HttpApiEndpoint.get("read", "/v1/things/:id", { params: { id: Schema.String }, success: Thing }).annotate(
      NeededScope,
      "charges:read"
    ),
    HttpApiEndpoint.get("list", "/v1/things", {
      query: { limit: Schema.optionalKey(limit) },
      success: Schema.Array(Thing),
      error: Problem.InvalidRequest
    }),
    HttpApiEndpoint.post("write", "/v1/things", {
      payload: body,
      success: Thing.pipe(HttpApiSchema.status(201)),
      error: Problem.InvalidRequest
    })
      .annotate(NeededScope, "charges:write")
      .middleware(Bodied),
    HttpApiEndpoint.post("charge", "/v1/charging", { payload: body, success: Thing, error: Problem.InvalidCharge })
      .annotate(InvalidAs, "invalid-charge")
      .middleware(Bodied)
  )
  .middleware(Authenticated)

const open = HttpApiGroup.make("open")
  .add(
    HttpApiEndpoint.get("fail", "/fail/:name", {
      params: { name: Schema.Literals(problemNames) },
      success: Schema.String,
      error: Object.values(Problem).filter((one) => Schema.isSchema(one)) as ReadonlyArray<typeof Problem.Internal>
    }),
    HttpApiEndpoint.get("boom", "/boom", { success: Schema.String }),
    HttpApiEndpoint.get("behind", "/behind", { success: Schema.String, error: Problem.Unavailable }),
    HttpApiEndpoint.get("unencodable", "/unencodable", { success: Schema.Struct({ n: Schema.Int }) }),
    HttpApiEndpoint.get("hang", "/hang", { success: Schema.String }),
    HttpApiEndpoint.get("nap", "/nap/:millis", {
      params: { millis: Schema.FiniteFromString },
      success: Schema.String
    }),
    HttpApiEndpoint.get("big", "/big", { success: Schema.String }),
    HttpApiEndpoint.get("trace", "/trace", { success: Schema.NullOr(Schema.String) }),
    HttpApiEndpoint.get("left", "/left", { success: Schema.NullOr(Schema.Finite) }),
    HttpApiEndpoint.get("through", "/through/:how", {
      params: { how: Schema.Literals(["failing", "hanging", "hurried", "wrapped"]) },
      success: Schema.String
    })
  )
  .middleware(Metered)

export class TrialApi extends HttpApi.make("trial").add(guarded).add(open).middleware(Edge).annotateMerge(strictness) {}

const things = HttpApiBuilder.group(TrialApi, "things", (handlers) =>
  handlers.handleAll({
    read: ({ params }) => Effect.map(CurrentCaller, ({ tenant }) => ({ id: params.id, amount: 1, tenant })),
    list: () => Effect.succeed([]),
    write: ({ payload }) => Effect.map(CurrentCaller, ({ tenant }) => ({ id: "new", amount: payload.amount, tenant })),
    charge: ({ payload }) => Effect.succeed({ id: "new", amount: payload.amount, tenant: "t" })
  })
)

const opened = HttpApiBuilder.group(TrialApi, "open", (handlers) =>
  handlers.handleAll({
    fail: ({ params }) => Effect.fail(samples[params.name] as Problem.Internal),
    boom: () => Effect.die(new Error("hunter2 is the secret")),
    behind: () =>
      Effect.fail(
        Problem.because(new Problem.Unavailable({ retry_after_ms: 1 }), new Error("connect to 10.0.0.7 failed"))
      ),
    unencodable: () => Effect.succeed({ n: 0.5 }),
    hang: () => Effect.never,
    nap: ({ params }) => Effect.as(Effect.sleep(params.millis), "rested"),
    big: () => Effect.succeed("x".repeat(bigBytes)),
    trace: () => Effect.map(traceparent, (one) => one ?? null),
    // Asked by a child, which has it from the request.
    left: () =>
      Effect.forkChild(Deadline.left).pipe(
        Effect.flatMap(Fiber.join),
        Effect.map((left) => (left === undefined ? null : Duration.toMillis(left)))
      ),
    through: ({ params }) => lookedUp(params.how)
  })
)

const ledger = Dependency.make("ledger", "test", {
  timeout: Duration.millis(50),
  window: Duration.seconds(30),
  windowCap: Duration.minutes(1)
})
const books = Dependency.make("books", "test", { timeout: Duration.seconds(1) })
const classify = (): Circuit.Outcome => ({ _tag: "Failure" })
const balance = Dependency.read<LedgerUnavailable>(ledger, "balance", { authoritative: true, classify })
const look = Dependency.read<LedgerUnavailable | BreakerError>(books, "look", { authoritative: true, classify })

const gone = Effect.fail(new LedgerUnavailable({ cause: new Error("hunter2") }))

/** Books that ask a ledger, each behind its breaker. */
const lookedUp = (how: "failing" | "hanging" | "hurried" | "wrapped") =>
  Effect.flatMap(Breaker, (breaker) => {
    const asked = breaker.read(look, breaker.read(balance, how === "hanging" ? Effect.never : gone))
    return how === "wrapped" ? Effect.mapError(asked, (cause) => new LedgerUnavailable({ cause })) : asked
  }).pipe(how === "hurried" ? Deadline.within("20 millis") : identity, Effect.mapError(problemOf))

const routes = HttpApiBuilder.layer(TrialApi).pipe(
  Layer.provide([things, opened]),
  Layer.provide([Authentication.layer, EdgeProblems.layer])
)

/** Nothing here asks a database: its time must not forbid a server that is quick to give up. */
const impatient = { DATABASE_STATEMENT_TIMEOUT: "100 millis" }

/** What the house's own layers need, in memory, with these settings. */
export const ground = (environment: Record<string, string> = {}) =>
  Layer.mergeAll(
    Readiness.layer,
    Layer.fresh(MemoryBreakers.layer),
    Layer.fresh(MemoryLimiter.layer),
    Layer.fresh(MemoryApiKeys.layer).pipe(Layer.provide(MemoryAuditLog.layer))
  ).pipe(
    Layer.provideMerge(Settings.layer),
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0", ...impatient, ...environment })))
  )

/** The trial api on a free port, its keys and its limiter behind `around` if one is given. */
export const loud = (
  environment?: Record<string, string>,
  around: Layer.Layer<never, never, ApiKeys | Limiter> = Layer.empty
) => Server.layer(TrialApi, routes).pipe(Layer.provide(around), Layer.provideMerge(ground(environment)))

/** The same without its log. */
export const server = (...options: Parameters<typeof loud>) => loud(...options).pipe(Layer.provide(Logger.layer([])))

export const port: Effect.Effect<number, never, HttpServer.HttpServer> = Effect.map(
  HttpServer.HttpServer,
  ({ address }) => ("port" in address ? Number(address.port) : 0)
)

/** A key of a tenant of its own, with the usual scopes unless told otherwise. */
export const newKey = (some: Partial<NewApiKey> = {}) =>
  Effect.gen(function* () {
    const keys = yield* ApiKeys
    const { token } = yield* keys.create(
      {
        tenant: TenantId.make("acme"),
        user: UserId.make("ada"),
        scopes: ["charges:read", "charges:write", "ops:read"],
        plan: "generous",
        operator: false,
        ...some
      },
      { actor: "test", why: "test" }
    )
    return { authorization: `Bearer ${Redacted.value(token)}` }
  })

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

const fetched = async (url: string, init: RequestInit): Promise<Answer> => {
  const response = await fetch(url, { redirect: "manual", ...init })
  const text = await response.text()
  const isJson = /json/.test(response.headers.get("content-type") ?? "")
  const { headers, status } = response
  return { status, headers, text, body: isJson && text !== "" ? parsed(text) : {} }
}

export const parsed = (text: string) => JSON.parse(text) as Record<string, unknown>

/** One request as a client would make it. */
export const ask = (path: string, init: RequestInit = {}): Effect.Effect<Answer, never, HttpServer.HttpServer> =>
  Effect.flatMap(port, (port) =>
    Effect.promise((signal) => fetched(`http://127.0.0.1:${port}${path}`, { signal, ...init }))
  )

export interface Wire {
  /** Bytes to go on writing, one every twenty milliseconds, like a client on a very slow line. */
  readonly dripping?: string
  /** Leaves what comes back unread for so long. */
  readonly deafMillis?: number
  /** Does not close its side when the other side does. */
  readonly stays?: boolean
}

const talk = (
  port: number,
  bytes: string,
  { deafMillis = 0, dripping, stays = false }: Wire,
  closed: (heard: string) => void
) => {
  let heard = ""
  const socket = createConnection({ port, host: "127.0.0.1", allowHalfOpen: stays }, () =>
    socket.write(bytes, "latin1")
  )
  const drip = dripping === undefined ? undefined : setInterval(() => socket.write(dripping), 20)
  setTimeout(() => socket.on("data", (chunk) => (heard += chunk.toString("latin1"))), deafMillis)
  socket.on("error", () => undefined)
  socket.on("close", () => {
    clearInterval(drip)
    closed(heard)
  })
  return socket
}

/** Writes bytes as they are and gives all that comes back until the other side ends the connection. */
export const raw = (bytes: string, wire: Wire = {}): Effect.Effect<string, never, HttpServer.HttpServer> =>
  Effect.flatMap(port, (port) =>
    Effect.callback<string>((resume) => {
      const socket = talk(port, bytes, wire, (heard) => resume(Effect.succeed(heard)))
      return Effect.sync(() => socket.destroy())
    }).pipe(
      Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.succeed("the connection stayed open") })
    )
  )
