/** Tells the next of our services how long its caller still waits. Not for strangers: they take no part in it. */
import { Effect } from "effect"
import { HttpClientRequest } from "effect/http"

import * as Deadline from "../../domain/Deadline.ts"

/** Unchanged where nobody waits. For `HttpClient.mapRequestEffect`, as near to the departure as may be. */
export const forwardDeadline = (
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientRequest.HttpClientRequest> =>
  Effect.map(Deadline.left, (left) =>
    left === undefined ? request : HttpClientRequest.setHeader(request, Deadline.header, Deadline.toHeader(left))
  )
