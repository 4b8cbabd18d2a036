import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Option } from "effect"

import * as Settings from "../../src/layers/platform/Settings.ts"

const given = (environment: Record<string, string>) =>
  Settings.layer.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(environment))))

const boot = (environment: Record<string, string>) => Settings.Settings.pipe(Effect.provide(given(environment)))

describe("Settings", () => {
  it.effect("has a value for everything when nothing is set", () =>
    Effect.gen(function* () {
      const settings = yield* boot({})
      assert.strictEqual(settings.port, 8080)
      assert.isTrue(Option.isNone(settings.databaseUrl))
    })
  )

  it.effect("names every wrong variable at once and what each must look like", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(boot({ PORT: "eighty", HTTP_DRAIN: "1 year", KAFKA_TLS: "yes" }))
      assert.include(error.message, `PORT must be a whole number from 0 to 65535, not "eighty"`)
      assert.include(error.message, "HTTP_DRAIN must be a duration")
      assert.include(error.message, "KAFKA_TLS must be true or false")
    })
  )

  it.effect("never shows a secret's value", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(boot({ DATABASE_URL: "mysql://root:hunter2@db" }))
      assert.include(error.message, "DATABASE_URL must be a URL starting with postgres://")
      assert.notInclude(error.message, "hunter2")
    })
  )

  it.effect("takes an empty variable for an unset one", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* boot({ PORT: "" })).port, 8080)
    })
  )
})
