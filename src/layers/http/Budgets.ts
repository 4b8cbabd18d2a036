/**
 * Whether what routes wait for fits into the time they have, told before anything is served. The timeout of a
 * call must lie strictly below its caller's: a call that its caller gives up first counts as nothing, and no
 * breaker ever opens on a dependency that hangs.
 */
import { Context, Duration, Effect } from "effect"
import { HttpApi, type HttpApiGroup } from "effect/http-api"

import { type Call, type CalledDependency, Calls } from "../../domain/api/Calls.ts"
import * as ProviderCalls from "../payments/ProviderCalls.ts"
import * as GuardedPostgres from "../platform/GuardedPostgres.ts"
import { type Settings, WrongSettings } from "../platform/Settings.ts"

/** A time, and the variable that sets it. */
export interface Bound {
  readonly variable: string
  readonly time: Duration.Duration
}

export interface Bounds {
  /** Of a route, without the wait that a client may ask for. */
  readonly route: Bound
  /** Of one call. */
  readonly call: Readonly<Record<CalledDependency, Bound>>
  /** Calls that stand before or in any route, whatever it says of itself. */
  readonly anywhere: ReadonlyArray<Bound>
}

export interface Route {
  readonly name: string
  readonly calls: ReadonlyArray<Call>
}

export const boundsOf = (settings: Settings["Service"]): Bounds => {
  const postgres = { variable: "DATABASE_STATEMENT_TIMEOUT and a tenth", time: GuardedPostgres.callMax(settings) }
  const redis = { variable: "REDIS_DEADLINE", time: settings.redisDeadline }
  return {
    route: { variable: "HTTP_ANSWER_TIMEOUT", time: settings.answerTimeout },
    call: { postgres, redis, psp: { variable: "PSP_TIMEOUT and 250ms", time: ProviderCalls.callMax(settings) } },
    anywhere: [postgres, redis, { variable: "IDEMPOTENCY_REDIS_BUDGET", time: settings.redisKeyBudget }]
  }
}

/** What does not fit, in sentences that name the numbers and what to set. */
export const wrongIn = (routes: ReadonlyArray<Route>, { anywhere, call, route }: Bounds): ReadonlyArray<string> => [
  ...anywhere
    .filter(({ time }) => !Duration.isLessThan(time, route.time))
    .map((one) => `${shown(one)} must be shorter than ${shown(route)}: a call has to end before its route does`),
  ...routes.flatMap(({ calls, name }) => {
    const all = calls.map(({ attempts, dependency }) => ({ attempts, dependency, bound: call[dependency] }))
    const sum = all.reduce(
      (sum, { attempts, bound }) => Duration.sum(sum, Duration.times(bound.time, attempts)),
      Duration.zero
    )
    if (all.length === 0 || Duration.isLessThan(sum, route.time)) return []
    const parts = all.map(({ attempts, bound, dependency }) => `${dependency} ${attempts} × ${shown(bound)}`)
    return [
      `${name} may wait ${Duration.format(sum)} (${parts.join(", ")}) and must answer in less than ${shown(route)}: lower the former or raise the latter`
    ]
  })
]

/** Fails when a route of `api` has no time for what it waits for. */
export const check = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>,
  settings: Settings["Service"]
): Effect.Effect<void, WrongSettings> =>
  Effect.suspend(() => {
    const routes: Array<Route> = []
    HttpApi.reflect(api, {
      onGroup: () => undefined,
      onEndpoint: ({ endpoint }) => {
        routes.push({
          name: `${endpoint.method} ${endpoint.path}`,
          calls: Context.get(endpoint.annotations, Calls)
        })
      }
    })
    const wrong = wrongIn(routes, boundsOf(settings))
    return wrong.length === 0 ? Effect.void : Effect.fail(new WrongSettings({ wrong }))
  })

const shown = ({ time, variable }: Bound) => `${variable} (${Duration.format(time)})`
