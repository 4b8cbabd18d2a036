/**
 * The provider's idempotency key of an operation: a name-based UUID (RFC 9562, version 5) of tenant, our
 * key, kind and generation. Derived, never drawn: should our rows be lost and the charge come again, the
 * provider still recognises it. A sequence would hand old keys to new charges after a restore.
 */
import { hash } from "node:crypto"

import type { TenantId } from "../Ids.ts"
import type { IdempotencyKey } from "./IdempotencyKey.ts"

const namespace = "5b0c4f0e-6f0a-5d3e-9a43-0c1d7e0b7a11"

const uuidv5 = (name: string): string => {
  const bytes = Buffer.from(
    hash("sha1", Buffer.concat([Buffer.from(namespace.replaceAll("-", ""), "hex"), Buffer.from(name)]), "hex"),
    "hex"
  )
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString("hex", 0, 16)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")
}

/** Tenants hold no `|`, so no two different names meet. */
export const pspKey = (tenant: TenantId, key: IdempotencyKey, kind: "charge", generation: number): string =>
  uuidv5(`${tenant}|${key}|${kind}|${generation}`)
