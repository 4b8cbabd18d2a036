/** What operators do about breakers, kept in Postgres and reached past every breaker, from the key to the audit log. */
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"

import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import type { AuditLog } from "../../domain/access/AuditLog.ts"
import type { BreakerReports } from "../../domain/breakers/BreakerReports.ts"
import { Breakers, type Snapshot } from "../../domain/breakers/Breakers.ts"
import type { ForcedStates } from "../../domain/breakers/ForcedStates.ts"
import * as SqlApiKeys from "../../layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../layers/access/SqlAuditLog.ts"
import * as SqlBreakerReports from "../../layers/breakers/SqlBreakerReports.ts"
import * as SqlForcedStates from "../../layers/breakers/SqlForcedStates.ts"
import { Reads } from "../../layers/platform/Postgres.ts"
import type { Settings } from "../../layers/platform/Settings.ts"
import { SideDoor } from "../../layers/platform/SideDoor.ts"

/** What is built on these is built afresh: it would be the one that everybody has, on everybody's client. */
const clients = Layer.merge(Layer.effect(SqlClient.SqlClient, SideDoor), Layer.effect(Reads, SideDoor))
const audit = Layer.fresh(SqlAuditLog.layer).pipe(Layer.provide(clients))

export const layer: Layer.Layer<ForcedStates | BreakerReports, never, SideDoor> = Layer.merge(
  SqlForcedStates.layer.pipe(Layer.provide(audit)),
  SqlBreakerReports.layer
)

/** The name that the breaker of Postgres has, where it has one. */
const isShut = ({ dependency, state }: Snapshot) => dependency === "postgres" && state === "forced-open"

/**
 * Keys as everybody checks them. While an operator has ordered Postgres open they are looked up past it as well,
 * since whoever comes to lift that order must be let in; at no other time, since there a breaker protects it.
 */
export const keys: Layer.Layer<
  ApiKeys,
  never,
  SqlClient.SqlClient | Reads | AuditLog | Settings | Breakers | SideDoor
> = Layer.effect(
  ApiKeys,
  Effect.gen(function* () {
    const breakers = yield* Breakers
    const usual = yield* ApiKeys
    const aside = Context.get(
      yield* Layer.build(Layer.fresh(SqlApiKeys.layer).pipe(Layer.provide([clients, audit]))),
      ApiKeys
    )
    return ApiKeys.of({
      ...usual,
      authenticate: (token) =>
        Effect.catchTag(usual.authenticate(token), "AccessUnavailable", (failure) =>
          Effect.flatMap(breakers.snapshots, (all) =>
            all.some(isShut) ? aside.authenticate(token) : Effect.fail(failure)
          )
        )
    })
  })
).pipe(Layer.provide(SqlApiKeys.layer))
