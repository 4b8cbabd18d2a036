/**
 * The provider's twin: a small bank behind real HTTP, to charge against on a laptop and to be the oracle of money
 * in tests. Loopback only. What it captures, declines or leaves unanswered is decided by the token, see
 * `TwinBook`; `tok_timeout` captures once and never answers a capture, so only a lookup tells. Requests to it
 * need the provider's key, when one is set; its switch needs the twin's own token. It answers nothing to a name
 * that is not loopback's, so no web page can reach it by rebinding one.
 */
import { createHash, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"

import { NodeHttpServer } from "@effect/platform-node"
import { ByteSize, Console, Context, Data, Duration, Effect, Layer, Option, Redacted, Schema } from "effect"
import type { Types } from "effect"
import {
  HttpIncomingMessage,
  HttpRouter,
  HttpServer,
  HttpServerError,
  HttpServerRequest,
  HttpServerRespondable,
  HttpServerResponse
} from "effect/http"

import { Settings } from "../platform/Settings.ts"
import * as TwinBook from "./TwinBook.ts"
import * as TwinCards from "./TwinCards.ts"
import * as TwinFile from "./TwinFile.ts"
import * as TwinHealth from "./TwinHealth.ts"

export interface Options {
  /** 0 picks a free one. */
  readonly port: number
  readonly file: string
  /** Who switches tokens must show it; without one nobody may. */
  readonly token: Option.Option<Redacted.Redacted>
  /** Who charges must show it; without one everybody may. */
  readonly apiKey: Option.Option<Redacted.Redacted>
  /** How long a key is deduped. */
  readonly window: Duration.Duration
}

/** Where it listens. */
export class TwinUrl extends Context.Service<TwinUrl, string>()("cribwork/payments/PspTwin/TwinUrl") {}

export class TwinRefused extends Data.TaggedError("TwinRefused")<{ readonly message: string }> {}

const bodyMax = ByteSize.kibibytes(64)
const connectionsMax = 1024
/** About 100 MB of them. */
const keysMax = 200_000
/** A client that sends its request slower than this is cut off. */
const requestTimeout = Duration.seconds(10)
/** A stopping twin gives answers under way this long. */
const drain = Duration.seconds(1)

class Refusal extends Data.TaggedError("Refusal")<{
  readonly status: number
  readonly code: string
  readonly message: string
  readonly retryAfter?: Duration.Duration
}> {
  [HttpServerRespondable.symbol]() {
    return Effect.succeed(problem(this.status, this.code, this.message, this.retryAfter))
  }
}

const loopback = /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const routes = (book: TwinBook.TwinBook, health: TwinHealth.TwinHealth, options: Options) => {
  const charge = Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    yield* needsBearer(request, options.apiKey, "open")
    const pspKey = request.headers["idempotency-key"] ?? ""
    if (!uuid.test(pspKey)) {
      return yield* new Refusal({
        status: 400,
        code: "idempotency_key_invalid",
        message: "Idempotency-Key must be a lower-case uuid."
      })
    }
    const order = yield* readBody(TwinBook.Order)
    const answer = yield* book.charge(pspKey, order)
    switch (answer._tag) {
      case "Settled":
        // The answer that a client must never mistake for a failure.
        if (answer.silent) return yield* TwinHealth.hangUp(request)
        if (answer.payment.state === "captured") return json(paymentOf(answer.payment), 201)
        return yield* new Refusal({ status: 402, ...TwinBook.cardDeclined })
      case "Busy":
        return yield* new Refusal({
          ...(answer.limited ? { status: 429, code: "rate_limited" } : { status: 503, code: "busy" }),
          message: "Come back later.",
          retryAfter: answer.retryAfter
        })
      case "KeyReused":
        return yield* new Refusal({ status: 422, ...TwinBook.keyReused })
      case "SourceUnknown":
        return yield* new Refusal({ status: 400, ...TwinBook.sourceUnknown })
    }
  })

  const lookup = Effect.gen(function* () {
    yield* needsBearer(yield* HttpServerRequest.HttpServerRequest, options.apiKey, "open")
    const { psp_key } = yield* HttpServerRequest.schemaSearchParams(Schema.Struct({ psp_key: Schema.String })).pipe(
      Effect.mapError(() => new Refusal({ status: 400, code: "psp_key_missing", message: "Say ?psp_key=…" }))
    )
    const found = yield* book.find(psp_key)
    return json({ data: found === undefined ? [] : [paymentOf(found)] }, 200)
  })

  const source = Effect.gen(function* () {
    yield* needsBearer(yield* HttpServerRequest.HttpServerRequest, options.apiKey, "open")
    const { token = "" } = yield* HttpRouter.params
    const card = TwinCards.of(token)
    return card === undefined
      ? yield* new Refusal({ status: 404, ...TwinBook.sourceUnknown })
      : json({ token, ...card }, 200)
  })

  const captured = Effect.map(book.captured, (data) => json({ data, next_cursor: null }, 200))

  const turn = Effect.gen(function* () {
    yield* needsBearer(yield* HttpServerRequest.HttpServerRequest, options.token, "closed")
    const { token = "" } = yield* HttpRouter.params
    const { alive } = yield* readBody(Schema.Struct({ alive: Schema.Boolean }))
    if (yield* book.switch(token, alive)) return json({ token, alive }, 200)
    return yield* new Refusal({ status: 404, code: "token_unknown", message: "There is no such switch." })
  })

  const fare = Effect.gen(function* () {
    yield* needsBearer(yield* HttpServerRequest.HttpServerRequest, options.token, "closed")
    const told = yield* readBody(TwinHealth.Health)
    yield* health.set(told)
    return json(told, 200)
  })

  const suffered = <A, E, R>(answer: Effect.Effect<A, E, R>) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => health.suffered(request, answer))

  return HttpRouter.addAll([
    HttpRouter.route("POST", "/payments", suffered(charge)),
    HttpRouter.route("GET", "/payments", suffered(lookup)),
    HttpRouter.route("GET", "/sources/:token", suffered(source)),
    HttpRouter.route("PUT", "/_twin/health", fare),
    HttpRouter.route("GET", "/_twin/payments", captured),
    HttpRouter.route("POST", "/_twin/tokens/:token", turn)
  ])
}

/** In front of every route: the name it was called by, and after it one shape for every refusal. */
const edge = HttpRouter.middleware(
  (app): Effect.Effect<HttpServerResponse.HttpServerResponse, Types.unhandled, HttpServerRequest.HttpServerRequest> =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      loopback.test(request.headers["host"] ?? "") ? app : Effect.succeed(hostRefused)
    ).pipe(
      Effect.provideService(HttpIncomingMessage.MaxBodySize, bodyMax),
      Effect.catchCause((cause) =>
        Effect.map(HttpServerError.causeResponse(cause), ([response]) =>
          response.body._tag === "Empty" && response.status >= 400
            ? problem(response.status, `http_${response.status}`, "The twin does not do that.")
            : response
        )
      )
    ),
  { global: true }
)

const server = (port: number) =>
  Layer.effect(
    HttpServer.HttpServer,
    Effect.gen(function* () {
      const node = createServer({
        requestTimeout: Duration.toMillis(requestTimeout),
        headersTimeout: Duration.toMillis(requestTimeout),
        connectionsCheckingInterval: Duration.toMillis(drain),
        maxHeaderSize: 16_384
      })
      node.maxConnections = connectionsMax
      const http = yield* NodeHttpServer.make(() => node, { host: "127.0.0.1", port, gracefulShutdownTimeout: drain })
      // After the drain: a client that hangs does not keep a stopped twin alive.
      yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
      return http
    })
  )

export const layerWith = (
  options: Options
): Layer.Layer<TwinUrl, TwinFile.TwinFileError | HttpServerError.ServeError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const file = yield* TwinFile.open(options.file)
      const book = yield* TwinBook.make({ window: options.window, keysMax, ...file })
      const url = Layer.effect(
        TwinUrl,
        Effect.map(HttpServer.HttpServer, ({ address }) =>
          "port" in address ? `http://127.0.0.1:${address.port}` : ""
        )
      )
      const app = Layer.mergeAll(routes(book, yield* TwinHealth.make, options), edge)
      return url.pipe(
        Layer.merge(HttpRouter.serve(app, { disableLogger: true, disableListenLog: true })),
        Layer.provide(server(options.port)),
        Layer.provide(NodeHttpServer.layerHttpServices)
      )
    })
  )

export const layer: Layer.Layer<TwinUrl, TwinFile.TwinFileError | HttpServerError.ServeError | TwinRefused, Settings> =
  Layer.unwrap(
    Effect.gen(function* () {
      const settings = yield* Settings
      if (!loopback.test(settings.host)) {
        return yield* new TwinRefused({ message: `HOST is ${settings.host}, but the twin listens on loopback only` })
      }
      return layerWith({
        port: settings.twinPort,
        file: settings.twinFile,
        token: settings.twinToken,
        apiKey: settings.pspKey,
        window: Duration.hours(24)
      })
    })
  )

/** Says where it listens, in one line that a program can read, and stays until its parent is gone, if it has one. */
export const announce = Effect.gen(function* () {
  yield* Console.log(`{"twin":"${yield* TwinUrl}"}`)
  const { twinFollowStdin } = yield* Settings
  return yield* twinFollowStdin ? stdinClosed : Effect.never
})

const stdinClosed = Effect.callback<void>((resume) => {
  process.stdin
    .once("close", () => resume(Effect.void))
    .once("error", () => resume(Effect.void))
    .resume()
})

const needsBearer = (
  request: HttpServerRequest.HttpServerRequest,
  expected: Option.Option<Redacted.Redacted>,
  without: "open" | "closed"
) => {
  if (Option.isNone(expected) && without === "open") return Effect.void
  const shown = request.headers["authorization"]?.replace(/^Bearer /i, "") ?? ""
  return Option.isSome(expected) && same(shown, Redacted.value(expected.value))
    ? Effect.void
    : Effect.fail(new Refusal({ status: 401, code: "token_wrong", message: "The bearer token is not the right one." }))
}

/** Hashed first, so that neither content nor length shows in the time it takes. */
const same = (one: string, other: string) => timingSafeEqual(digest(one), digest(other))
const digest = (text: string) => createHash("sha256").update(text).digest()

const readBody = <A>(schema: Schema.Codec<A, unknown>) =>
  Effect.gen(function* () {
    const text = yield* (yield* HttpServerRequest.HttpServerRequest).text
    return yield* Schema.decodeEffect(Schema.fromJsonString(schema), { onExcessProperty: "error" })(text).pipe(
      Effect.mapError(
        ({ message }) => new Refusal({ status: 422, code: "invalid_request", message: message.slice(0, 500) })
      )
    )
  })

const json = (body: unknown, status: number) => HttpServerResponse.jsonUnsafe(body, { status })

const problem = (status: number, code: string, message: string, retryAfter?: Duration.Duration) =>
  HttpServerResponse.jsonUnsafe(
    { error: { code, message } },
    { status, headers: retryAfter === undefined ? {} : { "retry-after": String(Duration.toSeconds(retryAfter)) } }
  )

const hostRefused = problem(403, "host_refused", "The twin answers to loopback names only.")

const paymentOf = ({ id, psp_key, amount, currency, state }: TwinBook.Settled) => ({
  id,
  psp_key,
  amount,
  currency,
  state,
  ...(state === "declined" ? { failure: TwinBook.cardDeclined } : {})
})
