/**
 * An `HttpClient` behind one breaker a host, for hosts that others name: customers' webhooks, gateways. Each is a
 * dependency called `family/host:port`, found in the first request to it. Their number is bounded and those
 * unused for long are dropped, without a timer; metrics count them under the name of the family, since a series
 * for each host that ever was would never end. They are strangers: none is told a deadline, or believed.
 */
import { Clock, Duration, Effect } from "effect"
import { HttpClient } from "effect/http"

import { Breaker, type BreakerError } from "../../domain/breakers/Breaker.ts"
import { Breakers, type PolicyRefused } from "../../domain/breakers/Breakers.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import * as HttpBreaker from "./HttpBreaker.ts"

export interface Options extends HttpBreaker.CallOptions {
  readonly family: string
  /** Of each of them. */
  readonly policy: Dependency.Policy
  /** Breakers at once; 256. For one more, the longest unused of those that are closed goes, or of all. */
  readonly hostsMax?: number
  /** Unused for this long a breaker is dropped; 10 minutes. Longer than its longest open window, or that is cut short. */
  readonly idleAfter?: Duration.Input
}

/** Enough for everybody; above it a family would push other dependencies out of the registry. */
const hostsMost = 500

interface Host<E> {
  readonly dependency: Dependency.Dependency
  readonly guard: ReturnType<typeof HttpBreaker.guardOf<E>>
  readonly usedMillis: number
}

export const wrap = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  { family, hostsMax = 256, idleAfter = "10 minutes", policy, ...options }: Options
): Effect.Effect<HttpClient.HttpClient.With<E | BreakerError, R>, PolicyRefused, Breaker | Breakers> =>
  Effect.gen(function* () {
    const breaker = yield* Breaker
    const breakers = yield* Breakers
    const clock = yield* Clock.Clock
    const idleMillis = Duration.toMillis(Duration.fromInputUnsafe(idleAfter))
    /** The longest unused first. */
    const hosts = new Map<string, Host<E>>()

    // A policy that cannot be kept is no first customer's trouble.
    yield* breakers.declare(Dependency.make(family, "http", policy))
    yield* breakers.forget(family)

    const drop = (host: string, { dependency }: Host<E>) => {
      hosts.delete(host)
      return breakers.forget(dependency.name)
    }
    const dropIdle = Effect.fnUntraced(function* (now: number) {
      for (const [host, known] of hosts) {
        if (now - known.usedMillis < idleMillis) return
        yield* drop(host, known)
      }
    })
    const dropOne = Effect.fnUntraced(function* () {
      for (const [host, known] of hosts) {
        if ((yield* breaker.permits(known.dependency)).state === "closed") return yield* drop(host, known)
      }
      for (const [host, known] of hosts) return yield* drop(host, known)
    })

    /** Not to be interrupted: a host that is not in the map has a breaker that nobody would drop. */
    const known = Effect.fnUntraced(function* (host: string) {
      const usedMillis = Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
      const before = hosts.get(host)
      hosts.delete(host)
      yield* dropIdle(usedMillis)
      if (before === undefined && hosts.size >= Math.min(hostsMax, hostsMost)) yield* dropOne()
      const dependency = before?.dependency ?? { ...Dependency.make(`${family}/${host}`, "http", policy), family }
      const guard = before?.guard ?? HttpBreaker.guardOf<E>(breaker, clock, dependency, options)
      hosts.set(host, { dependency, guard, usedMillis })
      return guard
    }, Effect.uninterruptible)

    return HttpClient.makeWith(
      (request) =>
        Effect.flatMap(request, (request) => {
          const host = HttpBreaker.hostOf(request)
          const call = client.postprocess(Effect.succeed(request))
          // Not even a URL: the client says so better than we could.
          return host === undefined ? call : Effect.flatMap(known(host), (guard) => guard(call, request.method))
        }),
      client.preprocess
    )
  })
