import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"

import { Api } from "../../domain/api/Api.ts"
import { NotReady } from "../../domain/api/Problem.ts"
import { Readiness } from "../platform/Readiness.ts"

/** When a prober may look again. */
const comeBackMillis = 1000

export const layer = HttpApiBuilder.group(
  Api,
  "health",
  Effect.fnUntraced(function* (handlers) {
    const readiness = yield* Readiness
    return handlers.handleAll({
      live: () => Effect.succeed({ status: "live" as const }),
      ready: () =>
        Effect.flatMap(readiness.report, (dependencies) => {
          const missing = dependencies.filter(({ ready }) => !ready).map(({ name }) => name)
          return missing.length === 0
            ? Effect.succeed({ status: "ready" as const, dependencies })
            : Effect.fail(
                new NotReady({
                  detail: `Not ready: ${missing.join(", ")}.`,
                  retry_after_ms: comeBackMillis,
                  dependencies
                })
              )
        })
    })
  })
)
