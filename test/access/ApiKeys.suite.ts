import { inspect } from "node:util"

import { assert, layer } from "@effect/vitest"
import { Effect, Option, Redacted } from "effect"
import type { Layer } from "effect"

import { Scope } from "../../src/domain/access/ApiKey.ts"
import type { NewApiKey } from "../../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../../src/domain/access/ApiKeys.ts"
import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { TenantId, UserId } from "../../src/domain/Ids.ts"

export const act = { actor: "cli:ada", why: "a test" }

export const key = (changes: Partial<NewApiKey> = {}): NewApiKey => ({
  tenant: TenantId.make("acme"),
  user: UserId.make("till-3"),
  scopes: ["charges:write", "charges:read"],
  plan: "small",
  operator: false,
  ...changes
})

const other = (digit: string | undefined) => (digit === "0" ? "1" : "0")

/** What every `ApiKeys` promises. The layer also gives the audit log that the keys write to. */
export const apiKeysSuite = <E>(name: string, adapter: Layer.Layer<ApiKeys | AuditLog, E>) =>
  layer(adapter, { excludeTestServices: true, timeout: "60 seconds" })(`ApiKeys (${name})`, (it) => {
    it.effect("a token opens exactly what its key was made for", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const { info, token } = yield* keys.create(key(), act)
        const expected = {
          keyId: info.id,
          tenant: "acme",
          user: "till-3",
          scopes: new Set(["charges:read", "charges:write"]),
          plan: "small"
        }
        assert.deepEqual<object>(yield* keys.authenticate(token), expected)
        assert.deepEqual<object>(yield* keys.authenticate(Redacted.value(token)), expected)
      })
    )

    it.effect("no digit of a token can be changed, left out or added", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const token = Redacted.value((yield* keys.create(key(), act)).token)
        const forged = [
          ...[3, 18, 20, 83].map((at) => token.slice(0, at) + other(token[at]) + token.slice(at + 1)),
          token.slice(0, -1),
          `${token}0`,
          token.toUpperCase(),
          ` ${token}`,
          ""
        ]
        for (const one of forged) {
          assert.strictEqual((yield* Effect.flip(keys.authenticate(one)))._tag, "UnknownKey", one)
        }
        yield* keys.authenticate(token)
      })
    )

    it.effect("a token holds 256 bits of chance and no two are alike", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const tokens = yield* Effect.forEach(Array.from({ length: 20 }), () => keys.create(key(), act))
        const secrets = new Set(tokens.map(({ token }) => Redacted.value(token).slice(20)))
        assert.strictEqual(secrets.size, 20)
        for (const secret of secrets) assert.match(secret, /^[0-9a-f]{64}$/)
      })
    )

    it.effect("admin scopes are for operators' keys alone, and the refusal names them", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const scopes = ["charges:read", "ops:admin", "limits:admin"] as const
        const refused = yield* Effect.flip(keys.create(key({ scopes }), act))
        assert.deepOwnInclude(refused, { _tag: "OperatorOnly", scopes: ["ops:admin", "limits:admin"] })
        const { info } = yield* keys.create(key({ scopes: Scope.literals, operator: true }), act)
        assert.deepStrictEqual(info.scopes, Scope.literals)
      })
    )

    it.effect("a revoked key opens nothing where it was revoked, though it was used a moment ago", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const { info, token } = yield* keys.create(key(), act)
        yield* keys.authenticate(token)
        const revoked = yield* keys.revoke(info.id, act)
        assert.isTrue(Option.isSome(revoked.revokedAt))
        assert.strictEqual((yield* Effect.flip(keys.authenticate(token)))._tag, "UnknownKey")
      })
    )

    it.effect("revoking twice keeps the first time, and revoking what never was is told", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const { info } = yield* keys.create(key(), act)
        const first = yield* keys.revoke(info.id, act)
        assert.deepStrictEqual(yield* keys.revoke(info.id, { actor: "cli:bob", why: "again" }), first)
        const missing = info.id.replace(/^./, other) as typeof info.id
        assert.deepOwnInclude(yield* Effect.flip(keys.revoke(missing, act)), { _tag: "KeyNotFound", id: missing })
      })
    )

    it.effect("lists every key, newest first, revoked ones too, with nothing that opens a door", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const one = yield* keys.create(key({ scopes: ["charges:write", "ops:read", "charges:write"] }), act)
        const two = yield* keys.create(key({ plan: "generous" }), act)
        const revoked = yield* keys.revoke(one.info.id, act)
        const [newest, older] = yield* keys.list
        assert.deepStrictEqual(newest, two.info)
        assert.deepStrictEqual(older, revoked)
        assert.deepStrictEqual(older?.scopes, ["charges:write", "ops:read"])
        assert.notInclude(
          inspect(yield* keys.list, { depth: null, maxArrayLength: null }),
          Redacted.value(two.token).slice(20)
        )
      })
    )

    it.effect("making and revoking leave a row each in the audit log, without the secret", () =>
      Effect.gen(function* () {
        const keys = yield* ApiKeys
        const audit = yield* AuditLog
        const { info, token } = yield* keys.create(key(), { actor: "cli:ada", why: "new till" })
        yield* keys.revoke(info.id, { actor: "cli:bob", why: "till stolen" })
        const [revoked, created] = yield* audit.list({ limit: 2 })
        const shown = { tenant: "acme", user: "till-3", plan: "small", operator: false, revoked_at: null }
        assert.deepOwnInclude(created ?? {}, {
          actor: "cli:ada",
          why: "new till",
          action: "keys.create",
          subject: info.id,
          before: null,
          after: { ...shown, scopes: ["charges:read", "charges:write"] }
        })
        assert.deepOwnInclude(revoked ?? {}, { actor: "cli:bob", why: "till stolen", action: "keys.revoke" })
        assert.deepOwnInclude(revoked?.before ?? {}, shown)
        assert.notDeepEqual(revoked?.after, revoked?.before)
        assert.notInclude(inspect([revoked, created], { depth: null }), Redacted.value(token).slice(20))
      })
    )
  })
