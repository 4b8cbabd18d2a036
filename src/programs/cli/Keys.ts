/** `cribwork keys`: who may come in. Acts are kept in the audit log under the name of who is at the terminal. */
import { userInfo } from "node:os"

import { DateTime, Effect, Layer, Option, Redacted } from "effect"
import { Argument, Command, Flag } from "effect/cli"

import { type ApiKeyInfo, KeyId, PlanName, Scope } from "../../domain/access/ApiKey.ts"
import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import type { Act } from "../../domain/access/AuditLog.ts"
import { TenantId, UserId } from "../../domain/Ids.ts"
import * as Settings from "../../layers/platform/Settings.ts"
import * as Printer from "./Printer.ts"
import { reason } from "./Reason.ts"
import { facts, table, time } from "./Table.ts"

/** Loaded when it is needed: help and the HTTP commands have no use for a database driver. */
const desk = Layer.unwrap(
  Effect.map(
    Effect.promise(() => import("./KeyDesk.ts")),
    ({ layer }) => layer
  )
).pipe(Layer.provide(Settings.layer))

/** A user without a name, as in some containers, is known by number. */
const actor = Effect.sync(() => {
  try {
    return `cli:${userInfo().username}`
  } catch {
    return `cli:uid-${process.getuid?.() ?? "unknown"}`
  }
})
const act = (why: string): Effect.Effect<Act> => Effect.map(actor, (name) => ({ actor: name, why }))

const onWire = (key: ApiKeyInfo) => ({
  id: key.id,
  tenant: key.tenant,
  user: key.user,
  scopes: key.scopes,
  plan: key.plan,
  operator: key.operator,
  created_at: DateTime.formatIso(key.createdAt),
  revoked_at: Option.getOrNull(Option.map(key.revokedAt, DateTime.formatIso))
})

const create = Command.make(
  "create",
  {
    tenant: Flag.String("tenant").pipe(
      Flag.withSchema(TenantId),
      Flag.withDescription("Whose affairs the key opens: 1 to 64 letters, digits, dots, dashes or underscores")
    ),
    user: Flag.String("user").pipe(
      Flag.withSchema(UserId),
      Flag.withDescription("The person or machine that holds it, likewise")
    ),
    scopes: Flag.Literals("scope", Scope.literals).pipe(
      Flag.withMetavar("<scope>"),
      Flag.atLeast(1),
      Flag.withDescription("What it may do; repeat for more")
    ),
    plan: Flag.Literals("plan", PlanName.literals).pipe(
      Flag.withDefault("generous"),
      Flag.withDescription("Its quotas; `small` meets a limit at once")
    ),
    operator: Flag.Boolean("operator").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Made for whoever runs the house; only such keys may hold an :admin scope")
    ),
    reason: reason.pipe(Flag.withDefault("made at the command line"))
  },
  Effect.fnUntraced(function* ({ reason, ...key }) {
    const keys = yield* ApiKeys
    const { info, token } = yield* keys.create(key, yield* act(reason))
    const secret = Redacted.value(token)
    yield* Printer.answer({ ...onWire(info), token: secret }, secret)
    yield* Printer.remark(
      `\nKey ${info.id} of ${info.tenant}, ${info.user}: ${info.scopes.join(" ")}; plan ${info.plan}.\nIts token above is shown this once and kept nowhere.`
    )
  })
).pipe(
  Command.provide(desk),
  Command.withShortDescription("Make a key and show its token, once"),
  Command.withDescription("Makes a key. Standard output is the token and nothing else, since it is shown this once."),
  Command.withExamples([
    { command: "cribwork keys create --tenant acme --user ada --scope charges:read --scope charges:write" },
    { command: "cribwork keys create --tenant acme --user eve --scope charges:read --plan small" },
    { command: "cribwork keys create --tenant house --user olga --scope payments:admin --operator" }
  ])
)

const list = Command.make(
  "list",
  {},
  Effect.fnUntraced(function* () {
    const keys = yield* (yield* ApiKeys).list
    const rows = keys.map(onWire)
    yield* Printer.answer(
      { data: rows },
      table(
        ["id", "tenant", "user", "plan", "operator", "created", "revoked", "scopes"],
        rows.map((key) => [
          key.id,
          key.tenant,
          key.user,
          key.plan,
          key.operator ? "yes" : "no",
          time(key.created_at),
          key.revoked_at === null ? "no" : time(key.revoked_at),
          key.scopes.join(" ")
        ])
      )
    )
  })
).pipe(
  Command.provide(desk),
  Command.withShortDescription("List keys, revoked ones too"),
  Command.withDescription("Lists keys, newest first, revoked ones too. Tokens are not kept and cannot be shown.")
)

const revoke = Command.make(
  "revoke",
  {
    id: Argument.String("id").pipe(
      Argument.withSchema(KeyId),
      Argument.withDescription("The key's id: 16 hexadecimal digits, the middle of its token")
    ),
    reason
  },
  Effect.fnUntraced(function* ({ id, reason }) {
    const key = onWire(yield* (yield* ApiKeys).revoke(id, yield* act(reason)))
    yield* Printer.answer(
      key,
      facts([
        ["key", key.id],
        ["of", `${key.tenant}, ${key.user}`],
        ["revoked", key.revoked_at === null ? "no" : time(key.revoked_at)]
      ])
    )
  })
).pipe(
  Command.provide(desk),
  Command.withShortDescription("Revoke a key"),
  Command.withDescription(
    "Revokes a key: it opens nothing from two seconds later on, in any process. Revoking it again changes nothing."
  ),
  Command.withExamples([{ command: 'cribwork keys revoke 0123456789abcdef --reason "left the company"' }])
)

export const keys = Command.make("keys").pipe(
  Command.withShortDescription("Make, list and revoke API keys"),
  Command.withDescription(
    "API keys, in the database of DATABASE_URL; unset, in that of an `npm start` which runs on the same folder."
  ),
  Command.withSubcommands([create, list, revoke]),
  Command.withGlobalFlags([Printer.json])
)
