/** What operators do about breakers, kept in Postgres and reached past every breaker, its audit log included. */
import { Layer } from "effect"
import { SqlClient } from "effect/sql"

import type { BreakerReports } from "../../domain/breakers/BreakerReports.ts"
import type { ForcedStates } from "../../domain/breakers/ForcedStates.ts"
import * as SqlAuditLog from "../../layers/access/SqlAuditLog.ts"
import * as SqlBreakerReports from "../../layers/breakers/SqlBreakerReports.ts"
import * as SqlForcedStates from "../../layers/breakers/SqlForcedStates.ts"
import { SideDoor } from "../../layers/platform/SideDoor.ts"

/** Fresh, since layers are built once: it would be the one on everybody's client, outside of our transactions. */
const audit = Layer.fresh(SqlAuditLog.layer).pipe(Layer.provide(Layer.effect(SqlClient.SqlClient, SideDoor)))

export const layer: Layer.Layer<ForcedStates | BreakerReports, never, SideDoor> = Layer.merge(
  SqlForcedStates.layer.pipe(Layer.provide(audit)),
  SqlBreakerReports.layer
)
