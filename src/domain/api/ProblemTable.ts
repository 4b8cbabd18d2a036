/**
 * The one table of problems: what each is called on the wire, its status, its title, what its page at
 * `/problems/<name>` says, and the members it carries beyond RFC 9457's own. Everything that can go wrong
 * towards a client has a row here; `Problem.ts` makes an error class of each, and none exists without a row.
 */
import { Schema } from "effect"

export interface Row<Status extends number = number, Members extends Schema.Struct.Fields = Schema.Struct.Fields> {
  readonly status: Status
  readonly title: string
  /** For the page: what happened, and what to do about it. Plain sentences. */
  readonly doc: string
  /** JSON as it is: what is in a problem is written as it stands. */
  readonly members: Members
}

const row = <const Status extends number, Members extends Schema.Struct.Fields = {}>(
  status: Status,
  title: string,
  doc: string,
  members?: Members
): Row<Status, Members> => ({ status, title, doc, members: members ?? ({} as Members) })

/** Where in a request something is wrong: `pointer` is a JSON pointer (RFC 6901) into that part of it. */
export const FieldError = Schema.Struct({
  in: Schema.Literals(["body", "query", "header"]),
  pointer: Schema.String,
  detail: Schema.String
}).annotate({ identifier: "FieldError" })
export type FieldError = typeof FieldError.Type

/** Something that requests need, and whether it answers. */
export const Dependency = Schema.Struct({
  name: Schema.String,
  ready: Schema.Boolean,
  detail: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "Dependency" })
export type Dependency = typeof Dependency.Type

const retryAfterMillis = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({
  description:
    "The same request may pass after this many milliseconds. `Retry-After` is this in whole seconds, rounded up."
})
const later = { retry_after_ms: Schema.optionalKey(retryAfterMillis) }

const culpritName = Schema.String.annotate({
  description: "The dependency that is behind it, as `GET /v1/breakers` calls it."
})
const culpritPath = Schema.NonEmptyArray(Schema.String).annotate({
  description: "The dependencies that the request went through to get there, that one last."
})
const culprit = { dependency: culpritName, path: culpritPath }
const someMillis = (description: string) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({ description })
/** Said where the request stands under an idempotency key. */
const keyed = {
  safe_new_key: Schema.optionalKey(Schema.Literal(false)),
  retryable: Schema.optionalKey(Schema.Literal(true))
}
const fields = { errors: Schema.NonEmptyArray(FieldError) }

/** May the caller send the same intent again under a new idempotency key without a second charge? */
const newKey = <const Safe extends boolean>(safe: Safe) => ({
  safe_new_key: Schema.tag(safe).annotate({
    description: "Whether the same intent may be sent under a new idempotency key without charging twice."
  })
})
/** Does the same request, sent again later under the same key, have a chance? */
const again = <const Again extends boolean>(retryable: Again) => ({
  retryable: Schema.tag(retryable).annotate({
    description: "Whether the same request under the same key may succeed later."
  })
})
const charge = {
  operation_state: Schema.optionalKey(Schema.String),
  charge: Schema.optionalKey(Schema.String)
}

export const table = {
  "malformed-request": row(
    400,
    "Malformed request",
    "The bytes are not a well-formed HTTP request: a bad request line or header, an ambiguous length, a missing Host, or a zero byte in the target. Nothing was done. The connection is closed where its framing can no longer be trusted."
  ),
  "malformed-json": row(
    400,
    "Malformed JSON",
    "The body is empty or not JSON. Nothing was done; correct the body and send it again."
  ),
  unauthenticated: row(
    401,
    "Unauthenticated",
    "The request carries no API key, or one that does not exist or was revoked. Send it as `Authorization: Bearer <key>`. Failed attempts of an address are counted; beyond a budget the address is refused with `quota-exceeded` before any key is looked at."
  ),
  forbidden: row(
    403,
    "Forbidden",
    "The API key is good but lacks the scope that this route needs, named in `scope`. Ask an operator for a key that has it.",
    { scope: Schema.String }
  ),
  "not-found": row(404, "No such route", "Nothing lives at this path. `/docs` lists every route."),
  "method-not-allowed": row(
    405,
    "Method not allowed",
    "The path exists, but not with this method. The `Allow` header lists those it has."
  ),
  "request-timeout": row(
    408,
    "Request timeout",
    "The request did not arrive whole in time. Nothing was done; send it again."
  ),
  "payload-too-large": row(413, "Payload too large", "The body is larger than this server takes. Nothing was done."),
  "uri-too-long": row(414, "Target too long", "The request target is longer than this server takes."),
  "unsupported-media-type": row(
    415,
    "Unsupported media type",
    "This route takes `application/json`. Nothing was done; set `Content-Type` and send it again."
  ),
  "expectation-failed": row(417, "Expectation failed", "The only expectation this server knows is `100-continue`."),
  "invalid-request": row(
    422,
    "Invalid request",
    "The request is well-formed but says something this route does not take. `errors` names each place. Members that the route does not know are refused too, so that a misspelt one is not silently ignored.",
    fields
  ),
  "precondition-failed": row(
    412,
    "Precondition failed",
    "What you are changing was changed by somebody else since you read it. Read it again and decide again."
  ),
  "precondition-required": row(
    428,
    "Precondition required",
    "Two people may change this at once, so say which version you read: send its `ETag` as `If-Match`."
  ),
  "quota-exceeded": row(
    429,
    "Quota exceeded",
    "A limit is spent. The policies without room are in `violated_policies`; with no other traffic the same request passes after `retry_after_ms`, and not earlier. A refused request costs nothing.",
    { retry_after_ms: retryAfterMillis, violated_policies: Schema.NonEmptyArray(Schema.String) }
  ),
  "headers-too-large": row(431, "Headers too large", "The request's head is larger than this server takes."),
  internal: row(
    500,
    "Internal error",
    "A bug of ours. It is in our logs under the `request_id`. A charge that may have been accepted is not lost: ask again under the same idempotency key."
  ),
  unavailable: row(
    503,
    "Unavailable",
    "Something this route needs does not answer, or the server is stopping, or the route took too long. Whether anything was done is not known: send the same request again after `Retry-After`, with the same idempotency key.",
    { ...later, ...keyed, dependency: Schema.optionalKey(culpritName), path: Schema.optionalKey(culpritPath) }
  ),
  "dependency-unavailable": row(
    503,
    "Dependency unavailable",
    "Something this route needs is believed to be down, is only just back, or has as many calls in flight as it may have; so it was not asked. `dependency` names it and `path` the way to it. That call was not made; what the route had done before it may have been. Send the same request again after `Retry-After`, with the same idempotency key.",
    { ...culprit, ...later, ...keyed }
  ),
  "deadline-too-short": row(
    503,
    "Deadline too short",
    "A call that this route needs could take `needs_ms`, and of the time that the caller gave only `left_ms` was left; so it was not made, and says nothing about `dependency`. The time is the route's own, or what `X-Cribwork-Deadline-Ms` said if that is less: send more, with the same idempotency key.",
    {
      ...culprit,
      needs_ms: someMillis("How long the call may take."),
      left_ms: someMillis("What was left of the caller's time."),
      ...keyed
    }
  ),
  "dependency-timeout": row(
    504,
    "Dependency timeout",
    "Something this route needs was asked and did not answer in its time. `dependency` names it and `path` the way to it. What it was asked to do may have been done: send the same request again, with the same idempotency key.",
    { ...culprit, ...keyed }
  ),
  "not-ready": row(
    503,
    "Not ready",
    "This process should not be sent requests at the moment: `dependencies` says what does not answer, or the process is stopping.",
    { ...later, dependencies: Schema.Array(Dependency) }
  ),
  overloaded: row(
    503,
    "Overloaded",
    "As many requests as this server takes at once are in flight. Nothing was done; send it again after `Retry-After`.",
    { ...later, retryable: Schema.optionalKey(Schema.Literal(true)) }
  ),
  "idempotency-key-missing": row(
    400,
    "Idempotency key missing",
    "This route moves money, so it needs an `Idempotency-Key` header: a fresh UUID version 4 for each thing you want done, the same one each time you try it again."
  ),
  "idempotency-key-invalid": row(
    400,
    "Idempotency key invalid",
    "The `Idempotency-Key` header is one field with one lower-case UUID version 4, bare or in double quotes."
  ),
  "idempotency-key-reused": row(
    422,
    "Idempotency key reused",
    "This key was used for another request. Nothing was done. A key names one intent: send the first request unchanged to hear its outcome, or make a new key for a new intent.",
    { ...newKey(false), ...again(false), ...charge }
  ),
  "operation-in-progress": row(
    409,
    "Operation in progress",
    "The first request under this key is still being accepted. Send the same request again after `Retry-After`.",
    { ...newKey(false), ...again(true), ...charge, ...later }
  ),
  "operation-result-expired": row(
    409,
    "Result expired",
    "This key was used, and its answer is no longer kept. The charge is: `Location` names it. The key never charges a second time.",
    { ...newKey(false), ...again(false), ...charge }
  ),
  "order-already-charged": row(
    409,
    "Order already charged",
    "There is a charge for this order that has not failed; `charge` names it. An order is charged at most once.",
    { ...newKey(false), ...again(false), ...charge }
  ),
  "invalid-charge": row(
    422,
    "Invalid charge",
    "The charge says something that cannot be charged. `errors` names each place. Nothing was done, and the key is still free: correct the request and send it under the same or a new key.",
    { ...newKey(true), ...again(false), ...fields }
  ),
  "card-declined": row(
    402,
    "Card declined",
    "The payment provider refused the charge for good. No money moved, and this answer stays the answer of this key. Another try is a new intent: use a new key.",
    {
      ...newKey(true),
      ...again(false),
      charge: Schema.String,
      id: Schema.String,
      operation_state: Schema.Literal("failed"),
      amount: Schema.Int,
      currency: Schema.String,
      source: Schema.String,
      description: Schema.NullOr(Schema.String),
      order_id: Schema.NullOr(Schema.String),
      created_at: Schema.String,
      failure: Schema.Struct({ code: Schema.String, message: Schema.String })
    }
  ),
  "insufficient-funds": row(
    422,
    "Insufficient funds",
    "An account would go below its floor, holds included. No money moved, and this answer stays the answer of this key.",
    { ...newKey(true), ...again(false), charge: Schema.Null, short_by: Schema.Int }
  ),
  "account-limit": row(
    422,
    "Account limit",
    "A sum of an account would no longer fit in 64 bits. No money moved, and this answer stays the answer of this key.",
    { ...newKey(true), ...again(false), charge: Schema.Null }
  ),
  "charge-not-found": row(404, "No such charge", "There is no charge of this id among yours."),
  "source-not-found": row(404, "No such source", "The provider knows no source of this token."),
  "account-not-found": row(404, "No such account", "There is no account of this id among yours."),
  "dead-letter-not-found": row(404, "No such dead letter", "There is no dead letter of this id."),
  "breaker-not-found": row(
    404,
    "No such breaker",
    "No process has told of a breaker of this name in the last hour. `GET /v1/breakers` lists those that are there."
  ),
  "idempotency-key-not-found": row(404, "Key not seen", "No request of yours with this idempotency key was accepted.")
}

export type ProblemName = keyof typeof table
export const problemNames = Object.keys(table) as ReadonlyArray<ProblemName>

/** Outcomes that stand under an idempotency key: told again as they are, so no one request's id is in them. */
export const storedOutcomes: ReadonlySet<ProblemName> = new Set([
  "card-declined",
  "insufficient-funds",
  "account-limit"
])
