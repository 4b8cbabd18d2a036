/** Reads the ledger in Postgres; transfers are written by the functions that accept and settle charges. */
import { Effect, Layer, Option, Schema } from "effect"

import { page } from "../../domain/Cursor.ts"
import { Currency } from "../../domain/Money.ts"
import { type Account, AccountCode, Ledger, LedgerUnavailable, NoSuchAccount } from "../../domain/payments/Ledger.ts"
import { Reads } from "../platform/Postgres.ts"

const AccountRow = Schema.Struct({
  id: Schema.String,
  code: AccountCode,
  currency: Currency,
  posted_debits: Schema.BigInt,
  posted_credits: Schema.BigInt,
  held_debits: Schema.BigInt,
  held_credits: Schema.BigInt,
  floor: Schema.NullOr(Schema.BigInt),
  version: Schema.BigInt,
  created_at: Schema.String
})
const AuditRow = Schema.Struct({
  currency: Schema.String,
  posted_debits: Schema.BigIntFromString,
  posted_credits: Schema.BigIntFromString,
  held_debits: Schema.BigIntFromString,
  held_credits: Schema.BigIntFromString,
  astray: Schema.Int
})
const decodeAccounts = Schema.decodeUnknownEffect(Schema.Array(AccountRow))
const decodeAudit = Schema.decodeUnknownEffect(Schema.Array(AuditRow))

const unavailable = (cause: unknown) => new LedgerUnavailable({ cause })

const make = Effect.gen(function* () {
  const sql = yield* Reads

  const select = (tenant: string, after: string, only: string | null, limit: number) =>
    sql`select id, code, currency, posted_debits, posted_credits, held_debits, held_credits, floor, version,
        rfc3339(created_at) as created_at
      from accounts
      where tenant_id = ${tenant} and id > ${after}::uuid and (${only}::uuid is null or id = ${only}::uuid)
      order by id limit ${limit}`.pipe(
      Effect.mapError(unavailable),
      Effect.flatMap((rows) => Effect.orDie(decodeAccounts(rows))),
      Effect.map((rows) => rows.map(toAccount))
    )

  const account: Ledger["Service"]["account"] = (tenant, id) =>
    Effect.flatMap(select(tenant, first, id, 1), ([found]) =>
      found === undefined ? Effect.fail(new NoSuchAccount({ id })) : Effect.succeed(found)
    )

  const accounts: Ledger["Service"]["accounts"] = (tenant, { limit, after }) =>
    Effect.map(
      select(
        tenant,
        Option.getOrElse(after, () => first),
        null,
        limit + 1
      ),
      (rows) => page(rows, limit, (row) => row.id)
    )

  const audit: Ledger["Service"]["audit"] = sql`select a.currency, sum(a.posted_debits)::text as posted_debits,
      sum(a.posted_credits)::text as posted_credits, sum(a.held_debits)::text as held_debits,
      sum(a.held_credits)::text as held_credits, count(s.id)::int as astray
    from accounts a left join accounts_astray s on s.id = a.id group by a.currency order by a.currency`.pipe(
    Effect.mapError(unavailable),
    Effect.flatMap((rows) => Effect.orDie(decodeAudit(rows))),
    Effect.map((rows) =>
      rows.map((row) => ({
        currency: row.currency,
        postedDebits: row.posted_debits,
        postedCredits: row.posted_credits,
        heldDebits: row.held_debits,
        heldCredits: row.held_credits,
        astray: row.astray
      }))
    )
  )

  return Ledger.of({ account, accounts, audit })
})

export const layer: Layer.Layer<Ledger, never, Reads> = Layer.effect(Ledger, make)

/** Before every id but the nil one, which is none. */
const first = "00000000-0000-0000-0000-000000000000"

const toAccount = (row: typeof AccountRow.Type): Account => ({
  id: row.id,
  code: row.code,
  currency: row.currency,
  postedDebits: row.posted_debits,
  postedCredits: row.posted_credits,
  heldDebits: row.held_debits,
  heldCredits: row.held_credits,
  floor: row.floor,
  version: row.version,
  createdAt: row.created_at
})
