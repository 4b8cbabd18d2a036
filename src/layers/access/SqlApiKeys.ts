/**
 * `ApiKeys` in Postgres. A key found good is believed for `ACCESS_KEY_CACHE` in this process, and an answer
 * that takes longer than `lookUpMax` is not waited for, so that a revocation acts within two seconds in
 * every process. Requests that miss together share one query. Refusals are not kept: a wrong token costs a
 * query each time, which is why an address may spend only so many (`ACCESS_FAILURES_MAX`).
 */
import { hash, timingSafeEqual } from "node:crypto"

import { Clock, DateTime, Deferred, Duration, Effect, Exit, Layer, Option, Redacted, Schema } from "effect"
import { SecureRandom } from "effect/crypto"
import { SqlClient } from "effect/sql"

import {
  callerOf,
  idOfToken,
  inAudit,
  KeyId,
  ordered,
  PlanName,
  Scope as KeyScope
} from "../../domain/access/ApiKey.ts"
import type { ApiKeyInfo, Caller } from "../../domain/access/ApiKey.ts"
import { ApiKeys, KeyNotFound, keysListedMax, refuseAdmin, UnknownKey } from "../../domain/access/ApiKeys.ts"
import { AccessUnavailable, AuditLog } from "../../domain/access/AuditLog.ts"
import * as Deadline from "../../domain/Deadline.ts"
import { TenantId, UserId } from "../../domain/Ids.ts"
import { CallMax, Reads } from "../platform/Postgres.ts"
import { Settings } from "../platform/Settings.ts"
import { apiKeyToken, hashOf } from "./ApiKeyToken.ts"
import { CallerCache } from "./CallerCache.ts"

/** How long a request waits to learn whether its key is good. The longer of this and `ACCESS_KEY_CACHE` bounds revocation. */
const lookUpMax = Duration.millis(1900)
/** Silence is Postgres' failure, and not an impatience of ours. */
const queryMax = Duration.millis(1800)
const callersMax = 10_000

const Row = Schema.Struct({
  id: KeyId,
  tenant_id: TenantId,
  user_id: UserId,
  scopes: Schema.Array(KeyScope),
  plan: PlanName,
  operator: Schema.Boolean,
  created_at: Schema.Date,
  revoked_at: Schema.NullOr(Schema.Date)
})
/** The schema of the table and of this code are the same, or the program had not started. */
const decode = Schema.decodeUnknownSync(Row)

interface LookUp {
  readonly keyId: KeyId
  readonly answer: Deferred.Deferred<Caller, UnknownKey | AccessUnavailable>
}

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const reads = yield* Reads
  const audit = yield* AuditLog
  const random = yield* SecureRandom.SecureRandom
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const { keyCache } = yield* Settings
  const cache = new CallerCache(BigInt(Duration.toMillis(keyCache)) * 1_000_000n, callersMax)
  const lookUps = new Map<string, LookUp>()

  const create: ApiKeys["Service"]["create"] = Effect.fnUntraced(
    function* (key, act) {
      yield* refuseAdmin(key)
      const { id, token } = yield* apiKeyToken(random)
      const [row] = yield* sql`insert into api_keys (id, token_hash, tenant_id, user_id, scopes, plan, operator)
      values (${id}, ${hashOf(token)}, ${key.tenant}, ${key.user}, ${ordered(key.scopes)}, ${key.plan}, ${key.operator})
      returning id, tenant_id, user_id, scopes, plan, operator, created_at, revoked_at`
      const info = infoOf(row)
      yield* audit.record({ ...act, action: "keys.create", subject: id, before: null, after: inAudit(info) })
      return { info, token: Redacted.make(token, { label: "api key" }) }
    },
    sql.withTransaction,
    Effect.mapError((failure) => (failure._tag === "SqlError" ? unavailable(failure) : failure))
  )

  const list = reads`select id, tenant_id, user_id, scopes, plan, operator, created_at, revoked_at
    from api_keys order by seq desc limit ${keysListedMax}`.pipe(
    Effect.map((rows) => rows.map(infoOf)),
    Effect.mapError(unavailable)
  )

  const revoke: ApiKeys["Service"]["revoke"] = Effect.fnUntraced(
    function* (id, act) {
      const [row] = yield* sql`select id, tenant_id, user_id, scopes, plan, operator, created_at, revoked_at
      from api_keys where id = ${id} for update`
      if (row === undefined) return yield* new KeyNotFound({ id })
      const before = infoOf(row)
      if (Option.isSome(before.revokedAt)) return before
      const [changed] = yield* sql`update api_keys set revoked_at = clock_timestamp() where id = ${id}
      returning id, tenant_id, user_id, scopes, plan, operator, created_at, revoked_at`
      const after = infoOf(changed)
      yield* audit.record({
        ...act,
        action: "keys.revoke",
        subject: id,
        before: inAudit(before),
        after: inAudit(after)
      })
      yield* sql.afterCommit(Effect.sync(() => forget(id)))
      return after
    },
    sql.withTransaction,
    Effect.mapError((failure) => (failure._tag === "SqlError" ? unavailable(failure) : failure))
  )

  /** Whoever asked before the revocation may be answered; whoever asks from now on asks anew. */
  const forget = (id: KeyId) => {
    cache.forget(id)
    for (const [tokenHash, lookUp] of lookUps) if (lookUp.keyId === id) lookUps.delete(tokenHash)
  }

  const find = (keyId: KeyId, tokenHash: string): Effect.Effect<Caller, UnknownKey | AccessUnavailable> =>
    reads<{ token_hash: Uint8Array }>`select id, tenant_id, user_id, scopes, plan, operator, created_at, revoked_at,
      token_hash from api_keys where id = ${keyId} and revoked_at is null`.pipe(
      Effect.provideService(CallMax, queryMax),
      Effect.timeout(lookUpMax),
      Effect.mapError(unavailable),
      Effect.flatMap(([row]) =>
        row !== undefined && timingSafeEqual(row.token_hash, Buffer.from(tokenHash, "binary"))
          ? Effect.succeed(callerOf(infoOf(row)))
          : Effect.fail(new UnknownKey())
      )
    )

  const lookUp = (keyId: KeyId, tokenHash: string) =>
    Effect.uninterruptibleMask((restore) => {
      const going = lookUps.get(tokenHash)
      if (going !== undefined) return restore(Deferred.await(going.answer))
      const mine: LookUp = { keyId, answer: Deferred.makeUnsafe() }
      lookUps.set(tokenHash, mine)
      const asked = clock.monotonicTimeNanosUnsafe()
      const settle = (exit: Exit.Exit<Caller, UnknownKey | AccessUnavailable>) =>
        Effect.sync(() => {
          if (lookUps.get(tokenHash) === mine) {
            lookUps.delete(tokenHash)
            if (Exit.isSuccess(exit)) cache.set(tokenHash, exit.value, asked)
          }
          Deferred.doneUnsafe(mine.answer, exit)
        })
      // In a fiber of its own: the request that asked first may leave or be in a hurry, those who joined it stay.
      return find(keyId, tokenHash).pipe(
        Deadline.lifted,
        Effect.onExit(settle),
        Effect.forkIn(scope),
        Effect.andThen(restore(Deferred.await(mine.answer)))
      )
    })

  const authenticate: ApiKeys["Service"]["authenticate"] = (given) =>
    Effect.suspend(() => {
      const token = typeof given === "string" ? given : Redacted.value(given)
      const keyId = idOfToken(token)
      if (keyId === undefined) return Effect.fail(new UnknownKey())
      const tokenHash = hash("sha256", token, "binary")
      return cache.get(tokenHash, clock.monotonicTimeNanosUnsafe()) ?? lookUp(keyId, tokenHash)
    })

  return ApiKeys.of({ create, list, revoke, authenticate })
})

export const layer: Layer.Layer<ApiKeys, never, SqlClient.SqlClient | Reads | AuditLog | Settings> = Layer.effect(
  ApiKeys,
  make
).pipe(Layer.provide(SecureRandom.layerWebCrypto))

const unavailable = (cause: unknown) => new AccessUnavailable({ cause })

const infoOf = (row: unknown): ApiKeyInfo => {
  const { tenant_id, user_id, created_at, revoked_at, ...same } = decode(row)
  return {
    ...same,
    tenant: tenant_id,
    user: user_id,
    createdAt: DateTime.fromDateUnsafe(created_at),
    revokedAt: Option.map(Option.fromNullOr(revoked_at), DateTime.fromDateUnsafe)
  }
}
