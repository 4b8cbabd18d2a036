/**
 * What an API key is. The token `cw_<id>_<secret>` is shown once, when the key is made; its id may be
 * logged and listed, its secret is kept nowhere, only its hash.
 */
import { DateTime, Option, Schema } from "effect"

import type { TenantId, UserId } from "../Ids.ts"

/** What a key may do. */
export const Scope = Schema.Literals([
  "charges:read",
  "charges:write",
  "orders:read",
  "orders:write",
  "schemas:read",
  "schemas:write",
  "accounts:read",
  "limits:use",
  "ops:read",
  "limits:admin",
  "payments:admin",
  "events:admin",
  "ops:admin"
])
export type Scope = typeof Scope.Type

/** Scopes over everybody's affairs, not one tenant's; only operators' keys hold them. */
export const isAdmin = (scope: Scope): boolean => scope.endsWith(":admin")

/** Which set of quotas a key is under; what a plan grants is the limiter's affair. */
export const PlanName = Schema.Literals(["generous", "small"])
export type PlanName = typeof PlanName.Type

/** The public half of a token: 16 hexadecimal digits. */
export const KeyId = Schema.String.pipe(Schema.check(Schema.isPattern(/^[0-9a-f]{16}$/)), Schema.brand("KeyId"))
export type KeyId = typeof KeyId.Type

/** Who asks, as far as a checked key tells. */
export interface Caller {
  readonly keyId: KeyId
  readonly tenant: TenantId
  readonly user: UserId
  readonly scopes: ReadonlySet<Scope>
  readonly plan: PlanName
}

/** What is chosen when a key is made. */
export interface NewApiKey {
  readonly tenant: TenantId
  readonly user: UserId
  readonly scopes: ReadonlyArray<Scope>
  readonly plan: PlanName
  /** Made for whoever runs the house; the only kind that may hold an admin scope. */
  readonly operator: boolean
}

/** A key as a list shows it. Scopes are in the order of `Scope`, each once. */
export interface ApiKeyInfo extends NewApiKey {
  readonly id: KeyId
  readonly createdAt: DateTime.Utc
  readonly revokedAt: Option.Option<DateTime.Utc>
}

const shape = /^cw_([0-9a-f]{16})_[0-9a-f]{64}$/

/** The id a token names, without asking whether there is such a key; undefined for what is no token of ours. */
export const idOfToken = (token: string): KeyId | undefined => shape.exec(token)?.[1] as KeyId | undefined

/** Bytes of chance in a secret: 256 bits, so that a plain fast hash is enough to keep it. */
export const secretBytes = 32

/** `idHex` of 8 and `secretHex` of `secretBytes` random bytes. */
export const tokenOf = (id: KeyId, secretHex: string): string => `cw_${id}_${secretHex}`

/** The given scopes, each once, in the order in which `Scope` lists them. */
export const ordered = (scopes: Iterable<Scope>): ReadonlyArray<Scope> => {
  const given = new Set(scopes)
  return Scope.literals.filter((scope) => given.has(scope))
}

/** Who holds the key. */
export const callerOf = ({ id, tenant, user, scopes, plan }: ApiKeyInfo): Caller => ({
  keyId: id,
  tenant,
  user,
  scopes: new Set(scopes),
  plan
})

/** A key as the audit log keeps it, without anything that opens a door. */
export const inAudit = ({ tenant, user, scopes, plan, operator, revokedAt }: ApiKeyInfo): Schema.Json => ({
  tenant,
  user,
  scopes,
  plan,
  operator,
  revoked_at: Option.match(revokedAt, { onNone: () => null, onSome: DateTime.formatIso })
})
