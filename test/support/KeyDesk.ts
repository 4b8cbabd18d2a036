/** API keys on any database of ours, made and revoked through the adapter as the command line does it. */
import { Effect, Layer, Redacted } from "effect"

import type { KeyId, NewApiKey } from "../../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { TenantId, UserId } from "../../src/domain/Ids.ts"
import * as SqlApiKeys from "../../src/layers/access/SqlApiKeys.ts"
import * as SqlAuditLog from "../../src/layers/access/SqlAuditLog.ts"
import * as Postgres from "../../src/layers/platform/Postgres.ts"
import { settings } from "../Postgres.ts"

const act = { actor: "test", why: "end to end" }

const at = <A, E>(database: string, use: (keys: ApiKeys["Service"]) => Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(
    ApiKeys.use(use).pipe(
      Effect.provide(
        SqlApiKeys.layer.pipe(
          Layer.provide(SqlAuditLog.layer),
          Layer.provide(Postgres.layer(Redacted.make(database))),
          Layer.provide(settings)
        )
      )
    )
  )

/** A key that may charge and look, unless told otherwise. */
export const keyOf = async (database: string, tenant: string, some: Partial<NewApiKey> = {}) => {
  const { info, token } = await at(database, (keys) =>
    keys.create(
      {
        tenant: TenantId.make(tenant),
        user: UserId.make("ada"),
        scopes: ["charges:read", "charges:write", "ops:read"],
        plan: "generous",
        operator: false,
        ...some
      },
      act
    )
  )
  return { id: info.id, apiKey: Redacted.value(token) }
}

export const revoke = (database: string, id: KeyId) => at(database, (keys) => keys.revoke(id, act))
