/** What every adapter of `ApiKeys` does alike when a key is made: draw its token, hash it, refuse what it may not hold. */
import { hash } from "node:crypto"

import { DateTime, Effect, Option } from "effect"
import type { Schema } from "effect"
import type { SecureRandom } from "effect/crypto"

import { isAdmin, KeyId, secretBytes, tokenOf } from "../../domain/access/ApiKey.ts"
import type { ApiKeyInfo, NewApiKey } from "../../domain/access/ApiKey.ts"
import { OperatorOnly } from "../../domain/access/ApiKeys.ts"

/** A fast hash, since the secret is 256 bits of chance: nothing shorter than it could be guessed. */
export const hashOf = (token: string): Buffer => hash("sha256", token, "buffer")

export const newToken = (random: SecureRandom.SecureRandom["Service"]) =>
  Effect.map(random.randomBytes(8 + secretBytes), (bytes) => {
    const hex = Buffer.from(bytes).toString("hex")
    const id = KeyId.make(hex.slice(0, 16))
    return { id, token: tokenOf(id, hex.slice(16)) }
  })

export const refuseAdmin = (key: NewApiKey): Effect.Effect<void, OperatorOnly> => {
  const [first, ...rest] = key.operator ? [] : key.scopes.filter(isAdmin)
  return first === undefined ? Effect.void : Effect.fail(new OperatorOnly({ scopes: [first, ...rest] }))
}

/** A key as the audit log keeps it, without anything that opens a door. */
export const shownInAudit = ({ tenant, user, scopes, plan, operator, revokedAt }: ApiKeyInfo): Schema.Json => ({
  tenant,
  user,
  scopes,
  plan,
  operator,
  revoked_at: Option.match(revokedAt, { onNone: () => null, onSome: DateTime.formatIso })
})
