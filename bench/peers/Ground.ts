/**
 * What a careful engineer writes by hand around a route when there is no house: the key check, the quotas, the
 * request's id, problems, two metrics. The limiter's core is ours, so that the same exact windows are counted
 * everywhere and a ratio speaks of what lies around it. What peers leave out on the way of a request that
 * succeeds, and the house does not: a deadline for the route, a place among those in flight, the origin of its
 * trace, and the address's standing.
 */
import { hash, timingSafeEqual } from "node:crypto"
import type { IncomingHttpHeaders } from "node:http"

import { idOfToken, type PlanName, type Scope } from "../../src/domain/access/ApiKey.ts"
import { problemOf } from "../../src/domain/api/Failure.ts"
import * as Problem from "../../src/domain/api/Problem.ts"
import type { Ask } from "../../src/domain/limits/Limiter.ts"
import { asksFor, asksForAddress, failedAuthentication, plans } from "../../src/domain/limits/Plan.ts"
import { toWire } from "../../src/layers/http/ProblemResponse.ts"
import { Windows, windowsBounds } from "../../src/layers/limits/Windows.ts"

export interface Key {
  readonly token: string
  readonly tenant: string
  readonly user: string
  readonly scopes: ReadonlyArray<Scope>
  readonly plan: PlanName
}

/** What the runner tells a peer at its start. */
export interface Given {
  readonly keys: ReadonlyArray<Key>
  readonly charge?: Readonly<Record<string, unknown>> & { readonly id: string }
  readonly databaseUrl?: string
  readonly pool?: number
}

export const given = JSON.parse(process.env["BENCH_GIVEN"] ?? "{}") as Given

interface Caller {
  readonly hash: Buffer
  readonly tenant: string
  readonly scopes: ReadonlySet<Scope>
  readonly ask: Ask
}

const bearer = /^bearer +([^\s]+) *$/i
const saneId = /^[A-Za-z0-9._-]{1,64}$/
const failuresMax = 20
/** Milliseconds. */
const boundaries = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000]

/** Throws a problem; gives the caller. */
export const gate = (route: string, scope: Scope) => {
  const windows = new Windows("memory", windowsBounds)
  const callers = new Map<string, Caller>(
    given.keys.map(({ plan, scopes, tenant, token, user }) => [
      idOfToken(token) ?? "",
      {
        hash: hash("sha256", token, "buffer"),
        tenant,
        scopes: new Set(scopes),
        ask: { keys: asksFor(plans[plan], { tenant, user, route }), cost: 1 }
      }
    ])
  )
  const spend = (ask: Ask) => {
    const decision = windows.take(ask, Math.floor(performance.now() * 1000))
    if (decision._tag === "Success") return
    for (const reason of decision.cause.reasons) {
      if (reason._tag === "Fail") throw problemOf(reason.error.reason)
    }
  }
  const unknown = (address: string, detail: string) => {
    spend({ keys: asksForAddress(failedAuthentication(failuresMax), address), cost: 1 })
    return new Problem.Unauthenticated({ detail })
  }

  return (headers: IncomingHttpHeaders, address: string): Caller => {
    const token = bearer.exec(headers.authorization ?? "")?.[1]
    if (token === undefined) {
      throw new Problem.Unauthenticated({ detail: "Send an API key as `Authorization: Bearer <key>`." })
    }
    const id = idOfToken(token)
    const caller = id === undefined ? undefined : callers.get(id)
    if (caller === undefined || !timingSafeEqual(caller.hash, hash("sha256", token, "buffer"))) {
      throw unknown(address, "No such API key, or it was revoked.")
    }
    if (!caller.scopes.has(scope)) {
      throw new Problem.Forbidden({ detail: `This key lacks the scope ${scope}.`, scope })
    }
    spend(caller.ask)
    return caller
  }
}

let count = 0
const prefix = hash("sha256", String(process.pid)).slice(0, 12)

export const requestIdOf = (sent: string | ReadonlyArray<string> | undefined): string =>
  typeof sent === "string" && saneId.test(sent) ? sent : `${prefix}-${(count++).toString(36)}`

/** Kept and never read here; a scraper would. */
const answers = new Map<string, number>()
const buckets = Array.from({ length: boundaries.length + 1 }, () => 0)

export const answered = (route: string, status: number, startedMillis: number): void => {
  const series = `${route} ${status}`
  answers.set(series, (answers.get(series) ?? 0) + 1)
  const took = performance.now() - startedMillis
  const place = boundaries.findIndex((boundary) => took <= boundary)
  const bucket = place === -1 ? boundaries.length : place
  buckets[bucket] = (buckets[bucket] ?? 0) + 1
}

/** Any failure as an RFC 9457 problem: status, body, headers. */
export const refusalOf = (error: unknown, requestId: string) => {
  const problem = Problem.isProblem(error) ? error : new Problem.Internal({})
  return { status: problem.status, ...toWire(problem, requestId) }
}

export const isUuid = (text: string): boolean => /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(text)

/** Says where it listens. */
export const listening = (port: number): void => {
  process.send?.({ port })
}
