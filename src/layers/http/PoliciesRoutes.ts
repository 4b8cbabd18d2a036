import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { CurrentCaller } from "../../domain/api/Edge.ts"
import { problemOf } from "../../domain/api/Failure.ts"
import { PreconditionFailed, PreconditionRequired } from "../../domain/api/Problem.ts"
import { Policies, type Snapshot } from "../../domain/limits/Policies.ts"
import { json } from "./Json.ts"

const answer = ({ document, version }: Snapshot) =>
  json(JSON.stringify({ version, ...document }), 200, { etag: `"${version}"` })

/** One strong tag of ours. `*` would be whatever is there: that names no version, and is refused like any other. */
const versionOf = (tag: string | undefined): Effect.Effect<number, PreconditionFailed | PreconditionRequired> => {
  if (tag === undefined) return Effect.fail(new PreconditionRequired({}))
  const version = /^"(0|[1-9]\d{0,8})"$/.exec(tag.trim())?.[1]
  return version === undefined ? Effect.fail(new PreconditionFailed({})) : Effect.succeed(Number(version))
}

export const layer = HttpApiBuilder.group(
  Api,
  "policies",
  Effect.fnUntraced(function* (handlers) {
    const policies = yield* Policies
    return handlers.handleAll({
      read: () => Effect.map(policies.current, answer),
      replace: Effect.fnUntraced(function* ({ headers, payload }) {
        const from = yield* versionOf(headers["if-match"])
        const { reason, ...document } = payload
        const { keyId: by } = yield* CurrentCaller
        const replaced = policies.replace({ document, from, reason, by })
        return answer(yield* Effect.mapError(replaced, problemOf))
      })
    })
  })
)
