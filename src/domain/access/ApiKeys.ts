/** Who may come in, and with which rights. */
import { Context, Effect, Schema } from "effect"
import type { Redacted } from "effect"

import { isAdmin, KeyId, Scope } from "./ApiKey.ts"
import type { ApiKeyInfo, Caller, NewApiKey } from "./ApiKey.ts"
import type { AccessUnavailable, Act } from "./AuditLog.ts"

/** No: nobody has this key, or nobody has it any more. Which of the two is not for the asker to know. */
export class UnknownKey extends Schema.TaggedError<UnknownKey>()("UnknownKey", {}) {}

/** No: these scopes are for operators' keys. */
export class OperatorOnly extends Schema.TaggedError<OperatorOnly>()("OperatorOnly", {
  scopes: Schema.NonEmptyArray(Scope)
}) {}

/** No: there is no key of this id. */
export class KeyNotFound extends Schema.TaggedError<KeyNotFound>()("KeyNotFound", { id: KeyId }) {}

/** The one time that a token is seen. */
export interface CreatedKey {
  readonly info: ApiKeyInfo
  readonly token: Redacted.Redacted
}

/**
 * API keys, known by hash only.
 *
 * - A revoked key opens nothing two seconds later, in any process; where it was revoked, at once.
 * - An act and its row in the audit log are written together, or neither is.
 * - Keys are never deleted: an id in an old log can always be looked up.
 */
export class ApiKeys extends Context.Service<
  ApiKeys,
  {
    readonly create: (key: NewApiKey, act: Act) => Effect.Effect<CreatedKey, OperatorOnly | AccessUnavailable>
    /** Newest first, revoked ones too. At most `keysListedMax`. */
    readonly list: Effect.Effect<ReadonlyArray<ApiKeyInfo>, AccessUnavailable>
    /** Revoking a revoked key changes nothing and is no failure. */
    readonly revoke: (id: KeyId, act: Act) => Effect.Effect<ApiKeyInfo, KeyNotFound | AccessUnavailable>
    /** Asked before everything else of every request: a known key costs microseconds and no I/O. */
    readonly authenticate: (token: Redacted.Redacted | string) => Effect.Effect<Caller, UnknownKey | AccessUnavailable>
  }
>()("cribwork/access/ApiKeys") {}

/** How many keys a list shows. */
export const keysListedMax = 10_000

/** The rule of `OperatorOnly`. */
export const refuseAdmin = (key: NewApiKey): Effect.Effect<void, OperatorOnly> => {
  const [first, ...rest] = key.operator ? [] : key.scopes.filter(isAdmin)
  return first === undefined ? Effect.void : Effect.fail(new OperatorOnly({ scopes: [first, ...rest] }))
}
