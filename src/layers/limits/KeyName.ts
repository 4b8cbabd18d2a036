/** What a key is called in Redis: `{tenant}:policy:user:route`, so that all keys of a decision share a slot. */
import { hash } from "node:crypto"

import type { AskKey } from "../../domain/limits/Limiter.ts"

/** Longer segments are sent as a digest, so that a name does not fill Redis. */
const segmentMax = 128

/** Escaped, since a raw `:` or `}` would forge another key; `{}` would be no tag, so `%` stands for nothing. */
export const keyName = ({ policy, key: [tag = "", ...narrower] }: AskKey): string => {
  let name = `{${escaped(tag) || "%"}}:${policy.name}`
  for (const segment of narrower) name += `:${escaped(segment)}`
  return name
}

const escaped = (segment: string): string => {
  if (segment.length > segmentMax || !segment.isWellFormed()) {
    return `%~${hash("sha256", Buffer.from(segment, "utf16le"), "base64url")}` // No escape begins with `%~`.
  }
  return encodeURIComponent(segment)
}
