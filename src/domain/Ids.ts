/** Ids that more than one system speaks of. All are opaque to callers. */
import { Schema } from "effect"

const name = Schema.String.pipe(Schema.check(Schema.isPattern(/^[A-Za-z0-9._-]{1,64}$/)))

/** Who pays for what is done: every row, key and quota belongs to one tenant. */
export const TenantId = name.pipe(Schema.brand("TenantId"))
export type TenantId = typeof TenantId.Type

/** A user or machine of a tenant. */
export const UserId = name.pipe(Schema.brand("UserId"))
export type UserId = typeof UserId.Type
