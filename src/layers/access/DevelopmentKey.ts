/**
 * The key of whoever develops against the suite: made at the first start on the embedded Postgres, kept in
 * `dev.env` of the data folder (mode 600), and used again as long as it opens. Never on a database that others
 * may share.
 */
import { chmodSync, readFileSync, renameSync, writeFileSync } from "node:fs"

import { Data, Effect, Redacted } from "effect"

import { Scope } from "../../domain/access/ApiKey.ts"
import { ApiKeys } from "../../domain/access/ApiKeys.ts"
import { TenantId, UserId } from "../../domain/Ids.ts"

export class DevEnvUnwritable extends Data.TaggedError("DevEnvUnwritable")<{ readonly cause: unknown }> {
  override get message(): string {
    return `dev.env cannot be written: ${String(this.cause)}`
  }
}

const kept = (file: string): string | undefined => {
  try {
    return /^export CRIBWORK_API_KEY='?([^'\n]+)'?$/m.exec(readFileSync(file, "utf8"))?.[1]
  } catch {
    return undefined
  }
}

/** The key that `file` keeps, if it still opens everything; else a new one. */
export const ensure = Effect.fnUntraced(function* (file: string) {
  const keys = yield* ApiKeys
  const token = kept(file)
  if (token !== undefined) {
    const caller = yield* Effect.option(keys.authenticate(token))
    if (caller._tag === "Some" && Scope.literals.every((scope) => caller.value.scopes.has(scope))) {
      return Redacted.make(token)
    }
  }
  const made = yield* keys.create(
    {
      tenant: TenantId.make("development"),
      user: UserId.make("developer"),
      scopes: Scope.literals,
      plan: "generous",
      operator: true
    },
    { actor: "suite", why: "first start on the embedded Postgres" }
  )
  return made.token
})

const quoted = (value: string) => `'${value.replaceAll("'", String.raw`'\''`)}'`

/** Written whole or not at all, and readable by its owner alone. */
export const write = (file: string, values: Readonly<Record<string, string>>) =>
  Effect.try({
    try: () => {
      const half = `${file}.${process.pid}`
      const lines = Object.entries(values).map(([name, value]) => `export ${name}=${quoted(value)}\n`)
      writeFileSync(half, lines.join(""), { mode: 0o600 })
      chmodSync(half, 0o600)
      renameSync(half, file)
    },
    catch: (cause) => new DevEnvUnwritable({ cause })
  })
