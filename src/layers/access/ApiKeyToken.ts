/** How a token is drawn and what is kept of it. */
import { hash } from "node:crypto"

import { Effect } from "effect"
import type { SecureRandom } from "effect/crypto"

import { KeyId, secretBytes, tokenOf } from "../../domain/access/ApiKey.ts"

/** A fresh id, and the token that carries it. */
export const apiKeyToken = (random: SecureRandom.SecureRandom["Service"]) =>
  Effect.map(random.randomBytes(8 + secretBytes), (bytes) => {
    const hex = Buffer.from(bytes).toString("hex")
    const id = KeyId.make(hex.slice(0, 16))
    return { id, token: tokenOf(id, hex.slice(16)) }
  })

/** A fast hash is enough, since the secret is 256 bits of chance: nothing shorter than it could be guessed. */
export const hashOf = (token: string): Buffer => hash("sha256", token, "buffer")
