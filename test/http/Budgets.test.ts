import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Logger, Schema } from "effect"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

import { type CalledDependency, Calls } from "../../src/domain/api/Calls.ts"
import * as Budgets from "../../src/layers/http/Budgets.ts"
import * as Server from "../../src/layers/http/Server.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"

class PatientApi extends HttpApi.make("patient").add(
  HttpApiGroup.make("slow").add(
    HttpApiEndpoint.get("slow", "/slow/:id", { success: Schema.String }).annotate(Calls, [
      { dependency: "postgres", attempts: 1 },
      { dependency: "psp", attempts: 2 }
    ])
  )
) {}

/** Builds a server with these settings, and says what is wrong if it does not stand. */
const built = (environment: Record<string, string>) =>
  Layer.build(
    Server.layer(
      PatientApi,
      HttpApiBuilder.layer(PatientApi).pipe(
        Layer.provide(
          HttpApiBuilder.group(PatientApi, "slow", (handlers) => handlers.handle("slow", () => Effect.succeed("late")))
        )
      )
    ).pipe(
      Layer.provide(Readiness.layer),
      Layer.provide(Settings.layer),
      Layer.provide(
        ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0", PSP_LEASE: "1 hour", ...environment }))
      ),
      Layer.provide(Logger.layer([]))
    )
  ).pipe(
    Effect.scoped,
    Effect.as<ReadonlyArray<string>>([]),
    Effect.catchTag("WrongSettings", ({ wrong }) => Effect.succeed(wrong))
  )

const millis = (least: number, most: number) => Schema.Int.check(Schema.isBetween({ minimum: least, maximum: most }))

const dependencies: ReadonlyArray<CalledDependency> = ["postgres", "psp", "redis"]

const bound = (variable: string, time: number): Budgets.Bound => ({ variable, time: Duration.millis(time) })

describe("Budgets", () => {
  it.prop(
    "let pass exactly what fits strictly below the time of its route",
    {
      route: millis(100, 60_000),
      times: Schema.Tuple([millis(1, 30_000), millis(1, 30_000), millis(1, 5000)]),
      calls: Schema.Array(Schema.Tuple([millis(0, 2), millis(1, 4)])).check(Schema.isMaxLength(4))
    },
    ({ calls, route, times }) => {
      const [postgres, psp, redis] = times
      const bounds: Budgets.Bounds = {
        route: bound("ROUTE", route),
        call: { postgres: bound("POSTGRES", postgres), psp: bound("PSP", psp), redis: bound("REDIS", redis) },
        anywhere: [bound("POSTGRES", postgres), bound("REDIS", redis)]
      }
      const asked = calls.map(([which, attempts]) => ({ dependency: dependencies[which] ?? "psp", attempts }))
      const sum = calls.reduce((sum, [which, attempts]) => sum + (times[which] ?? Number.NaN) * attempts, 0)
      const wrong = Budgets.wrongIn([{ name: "GET /x", calls: asked }], bounds)
      const said = (start: string) => wrong.filter((sentence) => sentence.startsWith(start)).length
      assert.strictEqual(said("POSTGRES ("), postgres >= route ? 1 : 0)
      assert.strictEqual(said("REDIS ("), redis >= route ? 1 : 0)
      assert.strictEqual(said("GET /x "), calls.length > 0 && sum >= route ? 1 : 0)
    }
  )

  it.effect.prop(
    "stop the boot of a server whose settings leave no time for a call, and of no other",
    { answer: millis(100, 20_000), postgres: millis(100, 20_000), psp: millis(50, 10_000), redis: millis(1, 5000) },
    ({ answer, postgres, psp, redis }) =>
      Effect.gen(function* () {
        const wrong = yield* built({
          HTTP_ANSWER_TIMEOUT: `${answer} millis`,
          DATABASE_STATEMENT_TIMEOUT: `${postgres} millis`,
          PSP_TIMEOUT: `${psp} millis`,
          REDIS_DEADLINE: `${redis} millis`
        })
        const fits = redis < answer && Math.round(1.1 * postgres * 1e6) / 1e6 + 2 * (psp + 250) < answer
        assert.strictEqual(wrong.length === 0, fits)
        for (const sentence of wrong) assert.include(sentence, "HTTP_ANSWER_TIMEOUT")
      }),
    { arbitrary: { runs: 60 } }
  )

  it.effect("tell the numbers, and what to set", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* built({ HTTP_ANSWER_TIMEOUT: "16500 millis", PSP_TIMEOUT: "2500 millis" }), [
        "GET /slow/:id may wait 16s 500ms (postgres 1 × DATABASE_STATEMENT_TIMEOUT and a tenth (11s), psp 2 × PSP_TIMEOUT and 250ms (2s 750ms)) and must answer in less than HTTP_ANSWER_TIMEOUT (16s 500ms): lower the former or raise the latter"
      ])
      assert.deepStrictEqual(yield* built({ HTTP_ANSWER_TIMEOUT: "16501 millis", PSP_TIMEOUT: "2500 millis" }), [])
      const [first] = yield* built({ HTTP_ANSWER_TIMEOUT: "11 seconds", PSP_TIMEOUT: "50 millis" })
      assert.strictEqual(
        first,
        "DATABASE_STATEMENT_TIMEOUT and a tenth (11s) must be shorter than HTTP_ANSWER_TIMEOUT (11s): a call has to end before its route does"
      )
    })
  )
})
