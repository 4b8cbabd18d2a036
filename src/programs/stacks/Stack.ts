/**
 * The boxes of the house, each to be filled by a stack. A stack that forgets one does not compile; a program
 * asks only for the boxes it needs, so that a worker starts without a limiter and a relay without a provider.
 */
import { Effect, Layer, Option } from "effect"

import type { ApiKeys } from "../../domain/access/ApiKeys.ts"
import type { AuditLog } from "../../domain/access/AuditLog.ts"
import type { Breaker } from "../../domain/breakers/Breaker.ts"
import type { BreakerReports } from "../../domain/breakers/BreakerReports.ts"
import type { Breakers } from "../../domain/breakers/Breakers.ts"
import type { ForcedStates } from "../../domain/breakers/ForcedStates.ts"
import type { EventBus } from "../../domain/events/EventBus.ts"
import type { EventOutbox } from "../../domain/events/EventOutbox.ts"
import type { Limiter } from "../../domain/limits/Limiter.ts"
import type { Policies } from "../../domain/limits/Policies.ts"
import type { Charges } from "../../domain/payments/Charges.ts"
import type { IdempotencyStore } from "../../domain/payments/IdempotencyStore.ts"
import type { Ledger } from "../../domain/payments/Ledger.ts"
import type { Outbox } from "../../domain/payments/Outbox.ts"
import type { Psp } from "../../domain/payments/Psp.ts"
import type { Transactions } from "../../domain/Transactions.ts"
import type { Readiness } from "../../layers/platform/Readiness.ts"
import { Settings, WrongSettings } from "../../layers/platform/Settings.ts"

/** What is kept: all but the last two commits together, those are reached past the breakers they are about. */
export type Books =
  | ApiKeys
  | AuditLog
  | Charges
  | EventOutbox
  | IdempotencyStore
  | Ledger
  | Outbox
  | Policies
  | Transactions
  | ForcedStates
  | BreakerReports

/** What every box stands on: one registry of breakers for all of a process, since every box calls something remote. */
export type Ground = Settings | Readiness | Breaker | Breakers

export interface Stack<E> {
  readonly books: Layer.Layer<Books, E, Ground>
  readonly limiter: Layer.Layer<Limiter, E, Ground>
  readonly bus: Layer.Layer<EventBus, E, Ground>
  readonly provider: Layer.Layer<Psp, E, Ground>
}

/** Where the settings name the server that fills a box. */
type Named<A> = (settings: Settings["Service"]) => Option.Option<A>

/** Fills a box with one layer when its server is named, with another when it is not. */
export const whenSet = <A, E, R, E2, R2>(
  named: Named<unknown>,
  set: Layer.Layer<A, E, R>,
  unset: Layer.Layer<A, E2, R2>
): Layer.Layer<A, E | E2, R | R2 | Settings> =>
  Layer.unwrap(
    Settings.useSync((settings): Layer.Layer<A, E | E2, R | R2> => (Option.isSome(named(settings)) ? set : unset))
  )

/** Builds a layer from what a variable names; a program that needs it does not start without. */
export const from = <Value, A, E, R>(
  variable: string,
  named: Named<Value>,
  build: (value: Value) => Layer.Layer<A, E, R>
): Layer.Layer<A, E | WrongSettings, R | Settings> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const value = named(yield* Settings)
      if (Option.isSome(value)) return build(value.value)
      return yield* new WrongSettings({ wrong: [`${variable} must be set: only suite fills this box by itself`] })
    })
  )
