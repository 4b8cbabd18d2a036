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

  it.effect("says which forms the URL of Redis may have, and shows no part of a wrong one", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(boot({ REDIS_URL: "redis+cluster://:hunter2@a,b/1" }))
      assert.include(error.message, "redis+sentinel://host:port,host:port/master/db or redis+cluster://host:port")
      assert.notInclude(error.message, "hunter2")
      assert.isTrue(Option.isSome((yield* boot({ REDIS_URL: "redis+cluster://:hunter2@a,b" })).redisUrl))
    })
  )

  it.effect("takes an empty variable for an unset one", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* boot({ PORT: "" })).port, 8080)
    })
  )

  it.effect("refuses what no variable says alone, naming the variables of each rule", () =>
    Effect.gen(function* () {
      const broken = {
        PSP_TIMEOUT: "20 seconds",
        PSP_LEASE: "40999 millis",
        PSP_BACKOFF_BASE: "2 minutes",
        PSP_BACKOFF_CAP: "1 minute",
        BREAKER_WINDOW: "10 seconds",
        BREAKER_WINDOW_CAP: "9999 millis",
        KAFKA_SASL_USERNAME: "cribwork"
      }
      const error = yield* Effect.flip(boot(broken))
      assert.strictEqual(error._tag, "WrongSettings")
      const lines = error.message.split("\n").slice(1)
      assert.strictEqual(lines.length, 4)
      for (const [at, names] of [
        ["PSP_LEASE", "PSP_TIMEOUT"],
        ["PSP_BACKOFF_BASE", "PSP_BACKOFF_CAP"],
        ["BREAKER_WINDOW", "BREAKER_WINDOW_CAP"],
        ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]
      ].entries()) {
        for (const name of names) assert.include(lines[at], name)
      }
      const mended = {
        ...broken,
        PSP_LEASE: "41 seconds",
        PSP_BACKOFF_CAP: "2 minutes",
        BREAKER_WINDOW_CAP: "10 seconds",
        KAFKA_SASL_MECHANISM: "plain",
        KAFKA_SASL_PASSWORD: "secret"
      }
      assert.deepStrictEqual((yield* boot(mended)).kafkaSaslUsername, Option.some("cribwork"))
    })
  )

  it.effect("tells wrong variables and broken rules together, and no rule about what cannot be read", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(boot({ PSP_LEASE: "soon", BREAKER_WINDOW: "1 minute" }))
      assert.include(error.message, "PSP_LEASE must be a duration")
      assert.include(error.message, "BREAKER_WINDOW must not be longer than BREAKER_WINDOW_CAP")
      assert.notInclude(error.message, "PSP_TIMEOUT")
    })
  )
})
