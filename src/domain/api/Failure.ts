/** What the systems may answer, and which problem each becomes. A failure without a row here does not compile. */
import { DateTime, Duration } from "effect"

import type { UnknownKey } from "../access/ApiKeys.ts"
import type { AccessUnavailable } from "../access/AuditLog.ts"
import type { BreakerError } from "../breakers/Breaker.ts"
import type { ReportsUnavailable } from "../breakers/BreakerReports.ts"
import type { ForcesUnavailable, UntilOutOfBounds } from "../breakers/ForcedStates.ts"
import type { LimiterError } from "../limits/Limiter.ts"
import type { DocumentRefused, PoliciesUnavailable, VersionStale } from "../limits/Policies.ts"
import type { NoSuchPolicy, SubjectIncomplete } from "../limits/ServiceAsk.ts"
import type { AcceptError, NoSuchCharge } from "../payments/Charges.ts"
import type { KeyInvalid, KeyMissing } from "../payments/IdempotencyKey.ts"
import type { KeysUnavailable, NoSuchKey } from "../payments/IdempotencyStore.ts"
import type { LedgerUnavailable, NoSuchAccount } from "../payments/Ledger.ts"
import type { NoSuchDeadLetter, OutboxUnavailable } from "../payments/Outbox.ts"
import type { PspError } from "../payments/Psp.ts"
import type { TransactionFailed } from "../Transactions.ts"
import * as Culprit from "./Culprit.ts"
import * as Problem from "./Problem.ts"
import { InvalidRequest, QuotaExceeded, Unauthenticated, Unavailable } from "./Problem.ts"

export type Failure =
  | BreakerError
  | LimiterError["reason"]
  | NoSuchPolicy
  | SubjectIncomplete
  | DocumentRefused
  | VersionStale
  | PoliciesUnavailable
  | UnknownKey
  | AccessUnavailable
  | TransactionFailed
  | KeyMissing
  | KeyInvalid
  | AcceptError["reason"]
  | NoSuchCharge
  | NoSuchKey
  | KeysUnavailable
  | NoSuchDeadLetter
  | OutboxUnavailable
  | NoSuchAccount
  | LedgerUnavailable
  | PspError
  | UntilOutOfBounds
  | ForcesUnavailable
  | ReportsUnavailable

/** How long a client waits before it asks again about something that does not answer. */
export const unavailableRetryMillis = 1000

const unavailable = (detail: string, failure: Failure) =>
  Culprit.spokenOr(failure, new Unavailable({ detail, retry_after_ms: unavailableRetryMillis }))

/** Asked again under the same key, nothing happens twice. */
const sameKey = { safe_new_key: false, retryable: true } as const

const paymentsAway = (failure: Failure) =>
  Culprit.spokenOr(
    failure,
    new Unavailable({
      detail: "Payments cannot be reached at the moment.",
      retry_after_ms: unavailableRetryMillis,
      ...sameKey
    }),
    sameKey
  )

const wrongAt = (pointer: string, detail: string) => new InvalidRequest({ errors: [{ in: "body", pointer, detail }] })

const rows = {
  BreakerError: (failure) => Culprit.problemSpoken(failure),
  RateLimited: ({ retryAfter, violated }) =>
    new QuotaExceeded({ retry_after_ms: Math.ceil(Duration.toMillis(retryAfter)), violated_policies: violated }),
  CannotDecide: (failure) => unavailable("Quotas cannot be checked at the moment.", failure),
  CostAboveLimit: ({ cost, limit, policy }) =>
    wrongAt("/cost", `This costs ${cost} units; policy ${policy} allows at most ${limit}.`),
  CostNotCountable: ({ cost }) => wrongAt("/cost", `A cost of ${cost} is not a whole number of units.`),
  NoSuchPolicy: ({ at }) => wrongAt(`/policies/${at}`, "There is no policy of this name."),
  SubjectIncomplete: ({ missing, policy }) => wrongAt(`/${missing}`, `Needed, since ${policy} counts by it.`),
  DocumentRefused: ({ wrong: [first, ...others] }) =>
    new InvalidRequest({
      errors: [{ in: "body", ...first }, ...others.map((one) => ({ in: "body" as const, ...one }))]
    }),
  VersionStale: () => new Problem.PreconditionFailed({}),
  PoliciesUnavailable: (failure) => unavailable("Policies cannot be changed at the moment.", failure),
  UnknownKey: () => new Unauthenticated({ detail: "No such API key, or it was revoked." }),
  AccessUnavailable: (failure) => unavailable("API keys cannot be checked at the moment.", failure),
  TransactionFailed: (failure) => unavailable("Whether it was done is not known.", failure),
  KeyMissing: () => new Problem.IdempotencyKeyMissing({}),
  KeyInvalid: ({ why }) => new Problem.IdempotencyKeyInvalid({ detail: `The key is ${why}.` }),
  KeyReused: () => new Problem.IdempotencyKeyReused({}),
  ResultExpired: ({ charge }) => new Problem.OperationResultExpired(charge === null ? {} : { charge }),
  OrderAlreadyCharged: ({ charge }) => new Problem.OrderAlreadyCharged({ charge }),
  OperationInProgress: () => new Problem.OperationInProgress({ retry_after_ms: unavailableRetryMillis }),
  ChargesUnavailable: (failure) => paymentsAway(failure),
  NoSuchCharge: () => new Problem.ChargeNotFound({}),
  NoSuchKey: () => new Problem.IdempotencyKeyNotFound({}),
  KeysUnavailable: (failure) => paymentsAway(failure),
  NoSuchDeadLetter: () => new Problem.DeadLetterNotFound({}),
  OutboxUnavailable: (failure) => paymentsAway(failure),
  NoSuchAccount: () => new Problem.AccountNotFound({}),
  LedgerUnavailable: (failure) => paymentsAway(failure),
  PspError: (failure) => unavailable("The payment provider did not say.", failure),
  UntilOutOfBounds: ({ latest, now }) =>
    new InvalidRequest({
      errors: [
        {
          in: "body",
          pointer: "/until",
          detail: `Must lie between now, ${DateTime.formatIso(now)}, and ${DateTime.formatIso(latest)}.`
        }
      ]
    }),
  ForcesUnavailable: (failure) => unavailable("Orders about breakers cannot be reached at the moment.", failure),
  ReportsUnavailable: (failure) =>
    unavailable("What processes tell of their breakers cannot be read at the moment.", failure)
} satisfies { readonly [F in Failure as F["_tag"]]: (failure: F) => Problem.Problem }

type Rows = typeof rows

/** The problem of one failure, as precisely as its row says, so that an endpoint can declare it. */
export const problemOf = <F extends Failure>(failure: F): ReturnType<Rows[F["_tag"]]> => {
  const row: (failure: never) => Problem.Problem = rows[failure._tag]
  return row(failure as never) as never
}
