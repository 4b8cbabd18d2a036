/**
 * What a request asks for, as 32 bytes: two requests with one fingerprint are the same request, whatever
 * the order of their members or the spelling of their numbers. SHA-256 over the method, the route's
 * template, the version of the API and the RFC 8785 form of the decoded body.
 */
import { hash } from "node:crypto"

import { Schema } from "effect"

export const Fingerprint = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[0-9a-f]{64}$/)),
  Schema.brand("Fingerprint")
)
export type Fingerprint = typeof Fingerprint.Type

/** JSON as decoded: the values RFC 8785 speaks of. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [member: string]: Json }

/** RFC 8785: members sorted by UTF-16 code unit, numbers and strings as ECMAScript writes them. */
export const canonical = (value: Json): string => {
  if (value === null || typeof value !== "object") return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`
  const members = Object.entries(value as { readonly [member: string]: Json })
  return `{${members
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`)
    .join(",")}}`
}

export const fingerprint = (method: string, route: string, version: string, body: Json): Fingerprint =>
  Fingerprint.make(hash("sha256", `${method}\n${route}\n${version}\n${canonical(body)}`, "hex"))
