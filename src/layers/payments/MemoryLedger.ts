/** The ledger in this process: reads what accepting and settling have written. */
import { Effect, Layer, Option } from "effect"

import { page } from "../../domain/Cursor.ts"
import { type Account, Ledger, NoSuchAccount, touched, type TrialBalance } from "../../domain/payments/Ledger.ts"
import { type Books, MemoryBooks } from "./MemoryBooks.ts"

const make = Effect.map(MemoryBooks, (books) => {
  const account: Ledger["Service"]["account"] = (tenant, id) =>
    Effect.suspend(() => {
      const found = [...books.accounts.values()].find((row) => row.tenant === tenant && row.id === id)
      return found === undefined ? Effect.fail(new NoSuchAccount({ id })) : Effect.succeed(found)
    })

  const accounts: Ledger["Service"]["accounts"] = (tenant, { limit, after }) =>
    Effect.sync(() => {
      const last = Option.getOrElse(after, () => "")
      const rows = [...books.accounts.values()]
        .filter((row) => row.tenant === tenant && row.id > last)
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      return page(rows.slice(0, limit + 1), limit, (row) => row.id)
    })

  return Ledger.of({ account, accounts, audit: Effect.sync(() => audit(books)) })
})

export const layer: Layer.Layer<Ledger, never, MemoryBooks> = Layer.effect(Ledger, make)

/** Folds the transfers anew, and counts who does not match. */
const astray = (books: Books, account: Account): boolean => {
  const opened = { ...account, postedDebits: 0n, postedCredits: 0n, heldDebits: 0n, heldCredits: 0n, version: 0n }
  const folded = books.transfers
    .filter((transfer) => transfer.debit === account.id || transfer.credit === account.id)
    .reduce(touched, opened)
  return (["postedDebits", "postedCredits", "heldDebits", "heldCredits", "version"] as const).some(
    (column) => folded[column] !== account[column]
  )
}

const audit = (books: Books): ReadonlyArray<TrialBalance> =>
  [...Map.groupBy(books.accounts.values(), (account) => account.currency)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([currency, accounts]) => {
      const sum = (column: "postedDebits" | "postedCredits" | "heldDebits" | "heldCredits") =>
        accounts.reduce((total, account) => total + account[column], 0n)
      return {
        currency,
        postedDebits: sum("postedDebits"),
        postedCredits: sum("postedCredits"),
        heldDebits: sum("heldDebits"),
        heldCredits: sum("heldCredits"),
        astray: accounts.filter((account) => astray(books, account)).length
      }
    })
