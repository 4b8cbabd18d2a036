/**
 * An error class for each row of the table. Fail with one anywhere below a route and it leaves as
 * `application/problem+json`, with the request's id filled in at the edge. The same classes decode answers in
 * the typed client, so that a caller catches `card-declined` by its tag.
 */
import { Schema } from "effect"
import { HttpApiError } from "effect/http-api"

import { type ProblemName, type Row, table } from "./ProblemTable.ts"

type Table = typeof table
type Members<N extends ProblemName> = Table[N] extends Row<number, infer M> ? M : never

/** The edge fills it in, since no handler knows it; therefore optional here and required on the wire. */
const requestId = { request_id: Schema.optionalKey(Schema.String) }

type Fields<N extends ProblemName> = typeof requestId & Members<N>

const named =
  <Self>() =>
  <const N extends ProblemName>(
    name: N
  ): HttpApiError.ProblemClass<Self, N, `/problems/${N}`, Table[N]["status"], Fields<N>, {}> => {
    const { status, title, members } = table[name]
    return HttpApiError.Problem<Self>()(
      name,
      { type: `/problems/${name}`, status, title },
      { ...requestId, ...members }
    ) as never
  }

export class MalformedRequest extends named<MalformedRequest>()("malformed-request") {}
export class MalformedJson extends named<MalformedJson>()("malformed-json") {}
export class Unauthenticated extends named<Unauthenticated>()("unauthenticated") {}
export class Forbidden extends named<Forbidden>()("forbidden") {}
export class NotFound extends named<NotFound>()("not-found") {}
export class MethodNotAllowed extends named<MethodNotAllowed>()("method-not-allowed") {}
export class RequestTimeout extends named<RequestTimeout>()("request-timeout") {}
export class PayloadTooLarge extends named<PayloadTooLarge>()("payload-too-large") {}
export class UriTooLong extends named<UriTooLong>()("uri-too-long") {}
export class UnsupportedMediaType extends named<UnsupportedMediaType>()("unsupported-media-type") {}
export class ExpectationFailed extends named<ExpectationFailed>()("expectation-failed") {}
export class InvalidRequest extends named<InvalidRequest>()("invalid-request") {}
export class PreconditionFailed extends named<PreconditionFailed>()("precondition-failed") {}
export class PreconditionRequired extends named<PreconditionRequired>()("precondition-required") {}
export class QuotaExceeded extends named<QuotaExceeded>()("quota-exceeded") {}
export class HeadersTooLarge extends named<HeadersTooLarge>()("headers-too-large") {}
export class Internal extends named<Internal>()("internal") {}
export class Unavailable extends named<Unavailable>()("unavailable") {}
export class DependencyUnavailable extends named<DependencyUnavailable>()("dependency-unavailable") {}
export class DeadlineTooShort extends named<DeadlineTooShort>()("deadline-too-short") {}
export class DependencyTimeout extends named<DependencyTimeout>()("dependency-timeout") {}
export class NotReady extends named<NotReady>()("not-ready") {}
export class Overloaded extends named<Overloaded>()("overloaded") {}

export class IdempotencyKeyMissing extends named<IdempotencyKeyMissing>()("idempotency-key-missing") {}
export class IdempotencyKeyInvalid extends named<IdempotencyKeyInvalid>()("idempotency-key-invalid") {}
export class IdempotencyKeyReused extends named<IdempotencyKeyReused>()("idempotency-key-reused") {}
export class OperationInProgress extends named<OperationInProgress>()("operation-in-progress") {}
export class OperationResultExpired extends named<OperationResultExpired>()("operation-result-expired") {}
export class OrderAlreadyCharged extends named<OrderAlreadyCharged>()("order-already-charged") {}
export class InvalidCharge extends named<InvalidCharge>()("invalid-charge") {}
export class CardDeclined extends named<CardDeclined>()("card-declined") {}
export class InsufficientFunds extends named<InsufficientFunds>()("insufficient-funds") {}
export class AccountLimit extends named<AccountLimit>()("account-limit") {}
export class ChargeNotFound extends named<ChargeNotFound>()("charge-not-found") {}
export class SourceNotFound extends named<SourceNotFound>()("source-not-found") {}
export class AccountNotFound extends named<AccountNotFound>()("account-not-found") {}
export class DeadLetterNotFound extends named<DeadLetterNotFound>()("dead-letter-not-found") {}
export class BreakerNotFound extends named<BreakerNotFound>()("breaker-not-found") {}
export class IdempotencyKeyNotFound extends named<IdempotencyKeyNotFound>()("idempotency-key-not-found") {}

/** What every problem has, whatever its name. */
export interface Problem extends Error {
  readonly _tag: ProblemName
  readonly type: string
  readonly status: number
  readonly title: string
  readonly detail?: string
  readonly instance?: string
}

export const isProblem = (value: unknown): value is Problem =>
  value instanceof Error && "_tag" in value && typeof value._tag === "string" && Object.hasOwn(table, value._tag)

/** Headers of this one answer, beside those that follow from its members. */
export const withHeaders = <P extends Problem>(problem: P, headers: Readonly<Record<string, string>>): P =>
  Object.assign(problem, { [headersKey]: headers })

export const headersOf = (problem: Problem): Readonly<Record<string, string>> =>
  (problem as { readonly [headersKey]?: Readonly<Record<string, string>> })[headersKey] ?? {}

const headersKey = Symbol("cribwork/api/Problem/headers")

/** Keeps what lies behind a problem for the log. It never reaches the wire. */
export const because = <P extends Problem>(problem: P, cause: unknown): P => Object.assign(problem, { cause })
