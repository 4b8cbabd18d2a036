/**
 * The HTTP API as a typed client, made from the contract that the server is made from. Whatever is not a
 * success is one of three: the server says no, something else answers in its place, or nothing does.
 */
import { Data, Duration, Effect, Option, Redacted, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { HttpApiClient } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import * as Deadline from "../../domain/Deadline.ts"
import { forwardDeadline } from "../../layers/platform/ForwardDeadline.ts"
import { Settings, WrongSettings } from "../../layers/platform/Settings.ts"

/** How long an answer is waited for, and the server is told so: longer than it takes itself to give up on a route. */
const answerMax = Duration.seconds(30)

/** A problem of any name, also of one that a newer server has. */
const Problem = Schema.StructWithRest(
  Schema.Struct({
    type: Schema.String,
    status: Schema.Int,
    title: Schema.String,
    detail: Schema.optionalKey(Schema.String),
    request_id: Schema.optionalKey(Schema.String)
  }),
  [Schema.Record(Schema.String, Schema.Json)]
)

/** No, says the server. */
export class ApiRefused extends Data.TaggedError("ApiRefused")<{ readonly problem: typeof Problem.Type }> {
  get problemName(): string {
    return this.problem.type.slice(this.problem.type.lastIndexOf("/") + 1)
  }
  override get message(): string {
    const { title, detail, request_id: id, errors, retry_after_ms: retryAfter, scope, path } = this.problem
    const fields = Array.isArray(errors)
      ? errors.map((one) => Option.getOrElse(Option.map(decodeFieldError(one), asLine), () => ""))
      : []
    return [
      `${title}${detail === undefined ? "" : `: ${detail}`}`,
      ...fields,
      ...(typeof scope === "string" ? [`The key lacks the scope ${scope}.`] : []),
      ...(Array.isArray(path) ? [`It came from ${path.join(" > ")}.`] : []),
      ...(typeof retryAfter === "number" ? [`Try again in ${Duration.format(Duration.millis(retryAfter))}.`] : []),
      ...(id === undefined ? [] : [`request id ${id}`])
    ]
      .filter((line) => line !== "")
      .join("\n  ")
  }
}

/** Something answers, but not as Cribwork's API does. */
export class NotTheApi extends Data.TaggedError("NotTheApi")<{ readonly url: string; readonly status: number }> {
  override get message(): string {
    return `What answers at ${this.url} is not Cribwork's API, or of another version (status ${this.status}). Is CRIBWORK_URL right?`
  }
}

/** Don't know: no answer came. What was asked may have been done. */
export class ApiUnreachable extends Data.TaggedError("ApiUnreachable")<{
  readonly url: string
  readonly why: string
}> {
  override get message(): string {
    return `No answer from ${this.url}: ${this.why}. Does the server run there? CRIBWORK_URL says where to look.`
  }
}

/** A question to the API, asked and answered. */
export type Ask = Effect.Success<typeof apiClient>["ask"]

export type ApiFailure = ApiRefused | NotTheApi | ApiUnreachable

/** The API at `CRIBWORK_URL`, asked with the key of `CRIBWORK_API_KEY`. */
export const apiClient = Effect.gen(function* () {
  const { url, apiKey } = yield* Settings
  if (Option.isNone(apiKey)) {
    return yield* new WrongSettings({
      wrong: [
        "CRIBWORK_API_KEY must be set: `source .cribwork/dev.env` beside a running `npm start`, or `cribwork keys create`"
      ]
    })
  }
  const { origin, pathname, username, password } = new URL(Redacted.value(url))
  if (username + password !== "") {
    return yield* new WrongSettings({ wrong: ["CRIBWORK_URL must name no user: the key alone says who asks"] })
  }
  const shown = origin + pathname.replace(/\/+$/, "")
  const refused = (response: HttpClientResponse.HttpClientResponse) =>
    response.text.pipe(
      Effect.flatMap(Schema.decodeUnknownEffect(Schema.fromJsonString(Problem))),
      Effect.mapError(() => new NotTheApi({ url: shown, status: response.status })),
      Effect.flatMap((problem) => new ApiRefused({ problem }))
    )
  const httpClient = (yield* HttpClient.HttpClient).pipe(
    HttpClient.mapRequest(HttpClientRequest.bearerToken(apiKey.value)),
    HttpClient.mapRequestEffect(forwardDeadline),
    HttpClient.transformResponse((answer) =>
      answer.pipe(
        Effect.mapError((error) => new ApiUnreachable({ url: shown, why: depth(error) })),
        Effect.timeoutOrElse({
          duration: answerMax,
          orElse: () => new ApiUnreachable({ url: shown, why: `none came in ${Duration.format(answerMax)}` })
        }),
        Effect.filterOrElse(({ status }) => status >= 200 && status < 300, refused)
      )
    )
  )
  const client = yield* HttpApiClient.makeWith(Api, { httpClient, baseUrl: shown })
  return {
    /** Failures of ours as they are; any other means that a success did not look like one. */
    ask: <A, E>(question: (api: typeof client) => Effect.Effect<A, E>): Effect.Effect<A, ApiFailure> =>
      question(client).pipe(
        Deadline.within(answerMax),
        Effect.mapError((error) => (isOurs(error) ? error : new NotTheApi({ url: shown, status: 200 })))
      )
  }
}).pipe(
  Effect.provide(FetchHttpClient.layer),
  // A redirect would turn a POST into a GET, and show the key to whoever is at its end.
  Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" })
)

const isOurs = (error: unknown): error is ApiFailure =>
  error instanceof ApiRefused || error instanceof NotTheApi || error instanceof ApiUnreachable

/** What Node says at the bottom of its causes, such as "connect ECONNREFUSED 127.0.0.1:8080". */
const depth = (error: unknown): string => {
  let at = error
  while (at instanceof Error && at.cause !== undefined) at = at.cause
  if (at instanceof AggregateError) at = at.errors[0]
  return at instanceof Error ? at.message : String(at)
}

const FieldError = Schema.Struct({ pointer: Schema.String, detail: Schema.String })
const decodeFieldError = Schema.decodeUnknownOption(FieldError)
const asLine = ({ pointer, detail }: typeof FieldError.Type) => `${pointer}: ${detail}`
