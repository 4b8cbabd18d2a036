import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"

import * as RateLimitFields from "../../src/domain/api/RateLimitFields.ts"
import { Quota } from "../../src/domain/limits/Limiter.ts"
import { Policy, PolicyName } from "../../src/domain/limits/Policy.ts"

/** A list of strings with integer parameters, as RFC 9651 (3.1) writes it; fails on anything else. */
const parsed = (field: string) =>
  field.split(", ").map((item) => {
    const match = /^"([\x20\x21\x23-\x5b\x5d-\x7e]+)"((?:;[a-z*][a-z0-9_.*-]*=-?\d{1,15})*)$/.exec(item)
    assert.isNotNull(match, item)
    const [, name = "", rest = ""] = match
    const parameters = rest
      .split(";")
      .slice(1)
      .map((one) => one.split("=") as [string, string])
    return { name, ...Object.fromEntries(parameters.map(([key, value]) => [key, Number(value)])) }
  })

const policy = Schema.Struct({
  name: Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,47}$/)),
  limit: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 })),
  windowMillis: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 86_400_000 })),
  left: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 })),
  resetMicros: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400_000_000 }))
})
const of = ({ limit, name, windowMillis }: typeof policy.Type) =>
  new Policy({ name: PolicyName.make(name), scope: "tenant", limit, window: Duration.millis(windowMillis) })

describe("RateLimitFields", () => {
  it.prop(
    "are structured fields, an item a policy, and never promise more or sooner than is true",
    { all: Schema.NonEmptyArray(policy).check(Schema.isMaxLength(5)) },
    ({ all }) => {
      const policies = parsed(RateLimitFields.policyField(all.map(of)))
      const quotas = parsed(RateLimitFields.limitField(all.map((one) => new Quota(of(one), one.left, one.resetMicros))))
      for (const [place, { left, limit, name, resetMicros, windowMillis }] of all.entries()) {
        const whole = windowMillis % 1000 === 0 ? { w: windowMillis / 1000 } : {}
        assert.deepStrictEqual(policies[place], { name, q: limit, ...whole } as never)
        assert.deepStrictEqual(quotas[place], { name, r: left, t: Math.ceil(resetMicros / 1_000_000) } as never)
      }
    }
  )

  it("of a refusal name what has no room, until when", () => {
    const names = ["small-user", "small-route"].map((name) => PolicyName.make(name))
    assert.strictEqual(
      RateLimitFields.refusedField(names, Duration.millis(1001)),
      `"small-user";r=0;t=2, "small-route";r=0;t=2`
    )
  })
})
