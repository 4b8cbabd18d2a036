/**
 * An `HttpClient` behind a breaker: one dependency, any requests. GET, HEAD and OPTIONS are reads, everything
 * else is a write. The breaker's timeout runs until the head of the answer; what is read afterwards is the
 * caller's time.
 *
 * A write is never sent twice, not even when its connection was refused: a client that follows redirects reports
 * a second host's refusal in the same words, and by then the first has executed it.
 */
import { Clock, Duration, Effect, Exit, Option, Random, Stream } from "effect"
import type { HttpClientResponse } from "effect/http"
import { HttpClient, HttpClientRequest } from "effect/http"

import { Breaker, BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { forwardDeadline } from "../platform/ForwardDeadline.ts"
import { retryAfterOf } from "../platform/RetryAfter.ts"
import * as HttpOutcome from "./HttpOutcome.ts"

type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

export interface CallOptions {
  /** What a 429 shows; a failure, unless told otherwise. */
  readonly limited?: HttpOutcome.Limited
  /**
   * How often a read that failed is asked again, `retriesMax` at most; not at all, unless told otherwise. All of it
   * is one call to the breaker: one outcome, one timeout, one place in flight. Nothing is asked again that was told
   * when to come back.
   */
  readonly retries?: number
}

export interface Options extends CallOptions {
  /**
   * Hosts that speak as our services do, as `host:port`, without the scheme's own port. They are told the caller's
   * deadline, and when a breaker of theirs refuses, the refusal goes on here with its path, instead of counting
   * against the host that told us. Nobody else is told or believed, whichever host a request goes to.
   */
  readonly ours?: ReadonlyArray<string>
}

const reads = new Set(["GET", "HEAD", "OPTIONS"])

export const retriesMax = 5

/** Before the first retry, drawn between this and its double; twice as long before each further one. */
const firstPause = Duration.millis(50)

/** How long the answer of a read that will be repeated may take to be got rid of. */
const dropMax = Duration.millis(100)

/** Puts the calls to one dependency behind its breaker. */
export const guardOf = <E>(
  breaker: Breaker["Service"],
  clock: Clock.Clock,
  dependency: Dependency.Dependency,
  { limited, retries = 0 }: CallOptions
) => {
  const classify: Dependency.Classify<E | BreakerError> = (exit) => {
    if (Exit.isFailure(exit)) return { _tag: "Failure" }
    const response = exit.value as Response
    if (elsewhere.has(response)) return { _tag: "Ignored" }
    const { headers, status } = response
    return HttpOutcome.outcomeOf(status, retryAfterOf(headers["retry-after"], clock.currentTimeMillisUnsafe()), limited)
  }

  const isWorthAnother = (exit: Exit.Exit<Response, E | BreakerError>): boolean => {
    if (Exit.hasInterrupts(exit) || Exit.hasDies(exit)) return false
    if (Exit.isFailure(exit)) return !(Option.getOrUndefined(Exit.findErrorOption(exit)) instanceof BreakerError)
    const outcome = classify(exit)
    return exit.value.status !== 429 && outcome._tag === "Failure" && outcome.retryAfter === undefined
  }
  const repeated = <R>(
    call: Effect.Effect<Response, E | BreakerError, R>,
    left: number,
    pause: Duration.Duration
  ): Effect.Effect<Response, E | BreakerError, R> =>
    left <= 0
      ? call
      : Effect.flatMap(Effect.exit(call), (exit) =>
          isWorthAnother(exit)
            ? dropped(exit).pipe(
                Effect.andThen(Random.next),
                Effect.flatMap((chance) => Effect.sleep(Duration.times(pause, 1 + chance))),
                Effect.andThen(repeated(call, left - 1, Duration.times(pause, 2)))
              )
            : exit
        )

  const operations = new Map<
    string,
    Dependency.Write<E | BreakerError> | Dependency.AuthoritativeRead<E | BreakerError>
  >()
  const operationOf = (method: string) => {
    const known = operations.get(method)
    if (known !== undefined) return known
    const made = reads.has(method)
      ? Dependency.read<E | BreakerError>(dependency, method, { authoritative: true, classify })
      : Dependency.write<E | BreakerError>(dependency, method, { classify })
    operations.set(method, made)
    return made
  }

  return <R>(call: Effect.Effect<Response, E | BreakerError, R>, method: string) => {
    const operation = operationOf(method)
    return operation._tag === "Write"
      ? breaker.write(operation, call)
      : breaker.read(operation, repeated(call, Math.min(retries, retriesMax), firstPause))
  }
}

export const wrap = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  dependency: Dependency.Dependency,
  { ours = [], ...options }: Options = {}
): Effect.Effect<HttpClient.HttpClient.With<E | BreakerError, R>, PolicyRefused, Breaker | Breakers> =>
  Effect.gen(function* () {
    yield* (yield* Breakers).declare(dependency)
    const guard = guardOf<E>(yield* Breaker, yield* Clock.Clock, dependency, options)
    const hosts = new Set(ours)

    const asked = (request: Request) => {
      const host = hostOf(request)
      if (host === undefined || !hosts.has(host)) return client.postprocess(Effect.succeed(request))
      // Inside of what is repeated: each time there is less left.
      return Effect.flatMap(client.postprocess(forwardDeadline(request)), (response) =>
        spoken(response, request.method)
      )
    }
    return HttpClient.makeWith(
      (request) => Effect.flatMap(request, (request) => guard(asked(request), request.method)),
      client.preprocess
    )
  })

/** As a URL has it; undefined where there is no URL to be made of it. */
export const hostOf = (request: Request): string | undefined =>
  Option.getOrUndefined(Option.map(HttpClientRequest.toUrl(request), ({ host }) => host))

/** Its connection is not kept for an answer that nobody reads. */
const dropped = (exit: Exit.Exit<Response, unknown>): Effect.Effect<void> =>
  Exit.isSuccess(exit) ? Effect.ignore(Effect.timeoutOption(Stream.runHead(exit.value.stream), dropMax)) : Effect.void

const isProblem = ({ headers, status }: Response) =>
  (status === 503 || status === 504) && headers["content-type"]?.startsWith("application/problem+json") === true

/** Answers of our own services that tell a failure of somebody further down: they show nothing about who tells it. */
const elsewhere = new WeakSet<Response>()

const spoken = (response: Response, operation: string): Effect.Effect<Response, BreakerError> =>
  isProblem(response)
    ? Effect.flatMap(Effect.option(response.text), (text) => {
        if (Option.exists(text, HttpOutcome.isElsewhere)) elsewhere.add(response)
        return Option.match(
          Option.flatMap(text, (body) => HttpOutcome.spokenIn(body, operation)),
          { onNone: () => Effect.succeed(response), onSome: Effect.fail }
        )
      })
    : Effect.succeed(response)
