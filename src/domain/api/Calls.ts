/**
 * What a route asks of dependencies, one thing after the other, before it can answer: an annotation of its
 * endpoint. Each of these calls may take its whole timeout, and together they must fit into the route's time.
 * Held against the settings when the server is built (`layers/http/Budgets`).
 *
 * Of a route that names none, every single call must fit; what it has used up by then shows at run time, when a
 * breaker refuses the call that does not.
 */
import { Context } from "effect"

/** Dependencies that routes call; where the time of a call is set is known where settings are. */
export type CalledDependency = "postgres" | "psp" | "redis"

export interface Call {
  readonly dependency: CalledDependency
  /** How often it is tried before the route gives up, each time for the whole timeout. */
  readonly attempts: number
}

export const Calls = Context.Reference<ReadonlyArray<Call>>("cribwork/api/Calls", { defaultValue: () => [] })
