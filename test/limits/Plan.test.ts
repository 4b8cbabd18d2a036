import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import { Limiter } from "../../src/domain/limits/Limiter.ts"
import * as Plan from "../../src/domain/limits/Plan.ts"
import { Policy } from "../../src/domain/limits/Policy.ts"
import * as MemoryLimiter from "../../src/layers/limits/MemoryLimiter.ts"

const caller = { tenant: "t", user: "u", route: "GET /v1/charges" }
const take = (keys: ReturnType<typeof Plan.asksFor>) => Limiter.use((limiter) => limiter.take({ keys, cost: 1 }))

describe("Plan", () => {
  it.effect("small shows a refusal at the sixth request of a user in ten seconds", () =>
    Effect.gen(function* () {
      for (let turn = 0; turn < 5; turn++) yield* take(Plan.asksFor(Plan.plans.small, caller))
      const { reason } = yield* Effect.flip(take(Plan.asksFor(Plan.plans.small, { ...caller, route: "other" })))
      assert(reason._tag === "RateLimited")
      assert.deepStrictEqual<ReadonlyArray<string>>(reason.violated, ["small-user"])
    }).pipe(Effect.provide(MemoryLimiter.layer))
  )

  it.effect("generous lets one user do ten thousand requests a second", () =>
    Effect.gen(function* () {
      for (let turn = 0; turn < 10_000; turn++) yield* take(Plan.asksFor(Plan.plans.generous, caller))
    }).pipe(Effect.provide(MemoryLimiter.layer))
  )

  it.effect("an address spends its failed authentications and no other's", () =>
    Effect.gen(function* () {
      const failed = Plan.failedAuthentication(2)
      yield* take(Plan.asksForAddress(failed, "203.0.113.7"))
      yield* take(Plan.asksForAddress(failed, "203.0.113.7"))
      yield* Effect.flip(take(Plan.asksForAddress(failed, "203.0.113.7")))
      yield* take(Plan.asksForAddress(failed, "203.0.113.8"))
      yield* take(Plan.asksForAddress(Plan.publicRoutes, "203.0.113.7"))
    }).pipe(Effect.provide(MemoryLimiter.layer))
  )

  it("no policy name has two windows, since counts belong to the name", () => {
    const all = Object.values(Plan.plans).flatMap(({ tenant, user, route }) => [tenant, user, route])
    const names = [...all, Plan.publicRoutes, Plan.failedAuthentication(1)].map(({ name }) => name)
    assert.strictEqual(new Set(names).size, names.length)
  })

  it("a policy that could not be kept cannot be made", () => {
    const good = Plan.plans.small.user
    for (const wrong of [{ limit: 0 }, { limit: 1_000_001 }, { limit: 1.5 }, { window: "0 millis" }, { name: "A:b" }]) {
      assert.throws(() => new Policy({ ...good, ...wrong } as never))
    }
  })
})
