/** The house itself on its memory stack, every route of it: what a get measures is the ground under a route. */
import { NodeRuntime } from "@effect/platform-node"
import { ConfigProvider, Effect, Layer, Option, Redacted } from "effect"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"
import { HttpServer } from "effect/http"

import { Scope } from "../src/domain/access/ApiKey.ts"
import { ApiKeys } from "../src/domain/access/ApiKeys.ts"
import { TenantId, UserId } from "../src/domain/Ids.ts"
import { Currency, MinorUnits } from "../src/domain/Money.ts"
import { statement } from "../src/domain/payments/Charge.ts"
import { Charges } from "../src/domain/payments/Charges.ts"
import { fingerprint } from "../src/domain/payments/Fingerprint.ts"
import { IdempotencyKey } from "../src/domain/payments/IdempotencyKey.ts"
import * as MemoryBreakers from "../src/layers/breakers/MemoryBreakers.ts"
import * as RedisLimiter from "../src/layers/limits/RedisLimiter.ts"
import * as ScriptedPsp from "../src/layers/payments/ScriptedPsp.ts"
import * as GuardedRedis from "../src/layers/platform/GuardedRedis.ts"
import * as Readiness from "../src/layers/platform/Readiness.ts"
import * as Redis from "../src/layers/platform/Redis.ts"
import * as Settings from "../src/layers/platform/Settings.ts"
import * as Telemetry from "../src/layers/platform/Telemetry.ts"
import * as Features from "../src/programs/stacks/Features.ts"
import { stack } from "../src/programs/stacks/Memory.ts"
import type { Given, Key } from "./peers/Ground.ts"

/** Users of one tenant, so that one user's quota is not what is measured. */
const users = ["u1", "u2", "u3", "u4"]
const tenant = TenantId.make("acme")

const key = Effect.fnUntraced(function* (user: string, plan: Key["plan"]) {
  const scopes = Scope.literals.filter((scope) => !scope.endsWith(":admin"))
  const created = yield* (yield* ApiKeys).create(
    { tenant, user: UserId.make(user), scopes, plan, operator: false },
    { actor: "bench", why: "a key to measure with" }
  )
  return { token: Redacted.value(created.token), tenant, user, scopes, plan } satisfies Key
})

const tell = Effect.gen(function* () {
  const request = {
    amount: MinorUnits.make(1050),
    currency: Currency.make("USD"),
    source: "tok_visa",
    description: "two coffees",
    orderId: "o-1"
  }
  const accepted = yield* (yield* Charges).accept({
    tenant,
    key: IdempotencyKey.make(uuidV4Unsafe()),
    fingerprint: fingerprint("POST", "/v1/charges", "1", request),
    request,
    traceparent: Option.none()
  })
  if (accepted._tag !== "Accepted") return yield* Effect.die(accepted)
  const keys = [...(yield* Effect.forEach(users, (user) => key(user, "generous"))), yield* key("small", "small")]
  const { address } = yield* HttpServer.HttpServer
  const given: Given = { keys, charge: JSON.parse(statement(accepted.charge)) as NonNullable<Given["charge"]> }
  process.send?.({ port: "port" in address ? address.port : 0, given })
})

/** Counted in this process, or, for what that costs, in a Redis. */
const redis = process.env["BENCH_REDIS"]
const limiter =
  redis === undefined
    ? stack.limiter
    : RedisLimiter.layer.pipe(Layer.provide(GuardedRedis.layer), Layer.provide(Redis.layer(Redacted.make(redis))))

Layer.effectDiscard(tell).pipe(
  Layer.provide(Features.api),
  Layer.provide([stack.books, limiter, ScriptedPsp.layer]),
  Layer.provide([Readiness.layer, MemoryBreakers.layer, Telemetry.layer("bench")]),
  Layer.provide(Settings.layer),
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0", LOG_LEVEL: "warn" }))),
  Layer.launch,
  NodeRuntime.runMain
)
