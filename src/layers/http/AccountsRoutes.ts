import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { AccountNotFound } from "../../domain/api/Problem.ts"
import { type Account, balance, Ledger } from "../../domain/payments/Ledger.ts"
import { json, listed } from "./Json.ts"
import { isUuid, pageOf } from "./Paging.ts"

/** Written by hand, because a sum may be larger than a double holds and JSON has no such bound. */
const written = (account: Account): string =>
  `{"id":"${account.id}","code":"${account.code}","currency":"${account.currency}",` +
  `"posted_debits":${account.postedDebits},"posted_credits":${account.postedCredits},` +
  `"held_debits":${account.heldDebits},"held_credits":${account.heldCredits},"balance":${balance(account)},` +
  `"floor":${account.floor},"version":${account.version},"created_at":"${account.createdAt}"}`

export const layer = HttpApiBuilder.group(
  Api,
  "accounts",
  Effect.fnUntraced(function* (handlers) {
    const ledger = yield* Ledger
    return handlers.handleAll({
      find: Effect.fnUntraced(function* ({ params }) {
        if (!isUuid(params.id)) return yield* new AccountNotFound({})
        const { tenant } = yield* CurrentCaller
        return json(written(yield* Effect.mapError(ledger.account(tenant, params.id), problemOf)))
      }),
      list: Effect.fnUntraced(function* ({ query }) {
        const { tenant } = yield* CurrentCaller
        const page = yield* Effect.mapError(ledger.accounts(tenant, yield* pageOf(query)), problemOf)
        return listed({ rows: page.rows.map(written), next: page.next })
      })
    })
  })
)
