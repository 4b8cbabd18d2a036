import { assert, describe, it } from "@effect/vitest"
import { Duration, Exit, Option, Schema } from "effect"

import { Busy, Captured, Declined, Invalid, NotSent, PspError, Unknown } from "../../src/domain/payments/Psp.ts"
import { classOf, health, judge } from "../../src/domain/payments/PspVerdict.ts"

const second = Option.some(Duration.seconds(1))
const reasons = {
  declined: new Declined({ code: "card_declined", message: "no" }),
  invalid: new Invalid({ code: "invalid_source", message: "no" }),
  limited: new Busy({ retryAfter: second, limited: true }),
  busy: new Busy({ retryAfter: second, limited: false }),
  notSent: new NotSent({ cause: "refused" }),
  unknown: new Unknown({ evidence: "reset" })
}
const ofReason = (reason: PspError["reason"]) => health(Exit.fail(new PspError({ reason })))

describe("PspVerdict", () => {
  it("has one class for each verdict", () => {
    const classes = Object.values(reasons).map(classOf)
    assert.deepStrictEqual(classes, ["declined", "invalid", "busy", "busy", "not_sent", "unknown"])
    assert.strictEqual(classOf(new Captured({ ref: "r", amount: 1, currency: "EUR" })), "captured")
  })

  it("holds against the provider what shows it to be down, and nothing else", () => {
    assert.deepStrictEqual(health(Exit.succeed(Option.none())), { _tag: "Success" })
    assert.deepStrictEqual(ofReason(reasons.declined), { _tag: "Success" })
    assert.deepStrictEqual(ofReason(reasons.invalid), { _tag: "Success" })
    assert.deepStrictEqual(ofReason(reasons.limited), { _tag: "Ignored" })
    assert.deepStrictEqual(ofReason(reasons.busy), { _tag: "Failure", retryAfter: Duration.seconds(1) })
    assert.deepStrictEqual(ofReason(reasons.notSent), { _tag: "Failure" })
    assert.deepStrictEqual(ofReason(reasons.unknown), { _tag: "Failure" })
    assert.deepStrictEqual(health(Exit.die("our bug")), { _tag: "Ignored" })
  })

  const money = Schema.Struct({
    amount: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
    currency: Schema.Literals(["EUR", "JPY"])
  })

  it.prop(
    "believes a capture only of exactly the money that was asked for",
    { asked: money, found: money },
    ({ asked, found }) => {
      const verdict = judge(asked, new Captured({ ref: "r", ...found }))
      const same = asked.amount === found.amount && asked.currency === found.currency
      assert.strictEqual(verdict._tag, same ? "Captured" : "Unknown")
    }
  )

  it("keeps both sums as evidence", () => {
    const verdict = judge({ amount: 5, currency: "EUR" }, new Captured({ ref: "r", amount: 6, currency: "EUR" }))
    assert(verdict._tag === "Unknown")
    assert.strictEqual(verdict.evidence, "captured 6 EUR as r, not 5 EUR")
  })
})
