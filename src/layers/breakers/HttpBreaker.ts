/**
 * An `HttpClient` behind a breaker: one dependency, any requests. GET, HEAD and OPTIONS are reads, everything
 * else is a write. It retries nothing: a write may have been executed, and an outcome is one call's. The
 * breaker's timeout runs until the head of the answer; what is read afterwards is the caller's time.
 */
import { Clock, Effect, Exit, Option } from "effect"
import type { HttpClientResponse } from "effect/http"
import { HttpClient } from "effect/http"

import { Breaker, type BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { forwardDeadline } from "../platform/ForwardDeadline.ts"
import { retryAfterOf } from "../platform/RetryAfter.ts"
import * as HttpOutcome from "./HttpOutcome.ts"

export interface Options {
  /** What a 429 shows; a failure, unless told otherwise. */
  readonly limited?: HttpOutcome.Limited
  /**
   * It speaks as our services do: it is told the caller's deadline, and when a breaker of its own refuses, the
   * refusal goes on here with its path, instead of counting against the service that told us.
   */
  readonly ours?: boolean
}

const reads = new Set(["GET", "HEAD", "OPTIONS"])

export const wrap = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  dependency: Dependency.Dependency,
  { limited, ours = false }: Options = {}
): Effect.Effect<HttpClient.HttpClient.With<E | BreakerError, R>, PolicyRefused, Breaker | Breakers> =>
  Effect.gen(function* () {
    const breaker = yield* Breaker
    const clock = yield* Clock.Clock
    yield* (yield* Breakers).declare(dependency)

    const classify: Dependency.Classify<E | BreakerError> = (exit) => {
      if (Exit.isFailure(exit)) return { _tag: "Failure" }
      const { headers, status } = exit.value as HttpClientResponse.HttpClientResponse
      return HttpOutcome.outcomeOf(
        status,
        retryAfterOf(headers["retry-after"], clock.currentTimeMillisUnsafe()),
        limited
      )
    }
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

    const told = HttpClient.transform(client, (call, { method }) => {
      const operation = operationOf(method)
      const heard = ours ? Effect.flatMap(call, (response) => spoken(response, method)) : call
      return operation._tag === "Write" ? breaker.write(operation, heard) : breaker.read(operation, heard)
    })
    return ours ? HttpClient.mapRequestEffect(told, forwardDeadline) : told
  })

const isProblem = ({ headers, status }: HttpClientResponse.HttpClientResponse) =>
  (status === 503 || status === 504) && headers["content-type"]?.startsWith("application/problem+json") === true

const spoken = (
  response: HttpClientResponse.HttpClientResponse,
  operation: string
): Effect.Effect<HttpClientResponse.HttpClientResponse, BreakerError> =>
  isProblem(response)
    ? Effect.flatMap(Effect.option(response.text), (text) =>
        Option.match(
          Option.flatMap(text, (body) => HttpOutcome.spokenIn(body, operation)),
          { onNone: () => Effect.succeed(response), onSome: Effect.fail }
        )
      )
    : Effect.succeed(response)
