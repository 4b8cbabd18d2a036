/** `ApiKeys` in this process: revocation acts at once, and a restart forgets every key. Grows without bound. */
import { timingSafeEqual } from "node:crypto"

import { DateTime, Effect, Layer, Option, Redacted } from "effect"
import { SecureRandom } from "effect/crypto"

import { callerOf, idOfToken, inAudit, ordered } from "../../domain/access/ApiKey.ts"
import type { ApiKeyInfo, Caller, KeyId } from "../../domain/access/ApiKey.ts"
import { ApiKeys, KeyNotFound, keysListedMax, refuseAdmin, UnknownKey } from "../../domain/access/ApiKeys.ts"
import { AuditLog } from "../../domain/access/AuditLog.ts"
import { apiKeyToken, hashOf } from "./ApiKeyToken.ts"

interface Kept {
  readonly info: ApiKeyInfo
  readonly hash: Buffer
  /** Made once: whoever remembers something of a caller finds it again. */
  readonly answer: Effect.Effect<Caller>
}

const make = Effect.gen(function* () {
  const audit = yield* AuditLog
  const random = yield* SecureRandom.SecureRandom
  const keys = new Map<KeyId, Kept>()

  const create: ApiKeys["Service"]["create"] = Effect.fnUntraced(function* (key, act) {
    yield* refuseAdmin(key)
    const { id, token } = yield* apiKeyToken(random)
    const info: ApiKeyInfo = {
      ...key,
      id,
      scopes: ordered(key.scopes),
      createdAt: yield* DateTime.now,
      revokedAt: Option.none()
    }
    yield* audit.record({ ...act, action: "keys.create", subject: id, before: null, after: inAudit(info) })
    keys.set(id, { info, hash: hashOf(token), answer: Effect.succeed(callerOf(info)) })
    return { info, token: Redacted.make(token, { label: "api key" }) }
  })

  const list = Effect.sync(() =>
    [...keys.values()]
      .map((kept) => kept.info)
      .slice(-keysListedMax)
      .toReversed()
  )

  const revoke: ApiKeys["Service"]["revoke"] = Effect.fnUntraced(function* (id, act) {
    const kept = keys.get(id)
    if (kept === undefined) return yield* new KeyNotFound({ id })
    if (Option.isSome(kept.info.revokedAt)) return kept.info
    const info = { ...kept.info, revokedAt: Option.some(yield* DateTime.now) }
    yield* audit.record({
      ...act,
      action: "keys.revoke",
      subject: id,
      before: inAudit(kept.info),
      after: inAudit(info)
    })
    keys.set(id, { ...kept, info })
    return info
  })

  const authenticate: ApiKeys["Service"]["authenticate"] = (given) =>
    Effect.suspend(() => {
      const token = Redacted.isRedacted(given) ? Redacted.value(given) : given
      const id = idOfToken(token)
      const kept = id === undefined ? undefined : keys.get(id)
      return kept !== undefined && timingSafeEqual(kept.hash, hashOf(token)) && Option.isNone(kept.info.revokedAt)
        ? kept.answer
        : Effect.fail(new UnknownKey())
    })

  return ApiKeys.of({ create, list, revoke, authenticate })
})

export const layer: Layer.Layer<ApiKeys, never, AuditLog> = Layer.effect(ApiKeys, make).pipe(
  Layer.provide(SecureRandom.layerWebCrypto)
)
