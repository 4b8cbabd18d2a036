/** The answer to a charge, for each outcome: status, bytes and headers. Pure, so that a replay cannot differ. */
import { Duration } from "effect"
import { HttpServerResponse } from "effect/http"

import { table } from "../../domain/api/ProblemTable.ts"
import type { IdempotencyKey } from "../../domain/payments/IdempotencyKey.ts"
import type { Answer } from "../payments/ChargeIntake.ts"
import { json } from "./Json.ts"
import { contentType } from "./ProblemResponse.ts"

/** A stored outcome that is a problem: it names no request, since it is the answer of every request. */
const problem = (name: "card-declined" | "insufficient-funds" | "account-limit", members: string) => {
  const { status, title } = table[name]
  return `{"type":"/problems/${name}","status":${status},"title":${JSON.stringify(title)},"safe_new_key":true,"retryable":false,${members}}`
}

/** Members of a JSON object, without its braces. */
const inside = (document: string) => document.slice(1, -1)

/** How soon a caller may look again whether an accepted charge has settled, seconds. */
const lookAgain = "1"

export const chargeAnswer = (
  key: IdempotencyKey,
  answer: Answer,
  wait: Duration.Duration
): HttpServerResponse.HttpServerResponse => {
  const headers: Record<string, string> = {
    "cache-control": "no-store",
    "idempotency-key": key,
    "idempotency-expires": answer.expires
  }
  if (answer.charge !== null) headers["location"] = `/v1/charges/${answer.charge}`
  if (answer.replayed) {
    headers["idempotent-replayed"] = "true"
    headers["idempotency-original-date"] = answer.firstSeen
  }
  if (!Duration.isZero(wait)) headers["preference-applied"] = `wait=${Math.floor(Duration.toSeconds(wait))}`

  switch (answer.outcome) {
    case "pending":
      return json(answer.document, 202, { ...headers, "retry-after": lookAgain })
    case "succeeded":
      return json(answer.document, 201, headers)
    case "failed": {
      const body = problem("card-declined", `"charge":${JSON.stringify(answer.charge)},${inside(answer.document)}`)
      return HttpServerResponse.text(body, { status: 402, contentType, headers })
    }
    case "refused": {
      const limit = answer.document.includes(`"account_limit"`)
      const shortBy = /"short_by": ?(\d+)/.exec(answer.document)?.[1]
      const members = shortBy === undefined ? `"charge":null` : `"charge":null,"short_by":${shortBy}`
      const body = problem(limit ? "account-limit" : "insufficient-funds", members)
      return HttpServerResponse.text(body, { status: 422, contentType, headers })
    }
  }
}
