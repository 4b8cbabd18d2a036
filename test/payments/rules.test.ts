import { assert, describe, it } from "@effect/vitest"
import { Duration, Option, Schema } from "effect"

import * as Cursor from "../../src/domain/Cursor.ts"
import { TenantId } from "../../src/domain/Ids.ts"
import { Currency, exponent, format } from "../../src/domain/Money.ts"
import * as Backoff from "../../src/domain/payments/Backoff.ts"
import { looksLikeCardNumber } from "../../src/domain/payments/CardNumber.ts"
import { Description, OrderId, Source, statement } from "../../src/domain/payments/Charge.ts"
import { canonical, fingerprint, type Json } from "../../src/domain/payments/Fingerprint.ts"
import { IdempotencyKey, parse } from "../../src/domain/payments/IdempotencyKey.ts"
import { type Account, refusal, touched } from "../../src/domain/payments/Ledger.ts"
import * as NextStep from "../../src/domain/payments/NextStep.ts"
import type { Lease } from "../../src/domain/payments/Outbox.ts"
import { Busy, Invalid, NotSent, Unknown } from "../../src/domain/payments/Psp.ts"
import { pspKey } from "../../src/domain/payments/PspKey.ts"
import { eventOf, settledBy } from "../../src/domain/payments/Settlement.ts"
import { request } from "./intents.ts"

const key = IdempotencyKey.make("8e03978e-40d5-43e8-bc93-6894a57f9324")

describe("IdempotencyKey", () => {
  it("reads a quoted and a bare key alike", () => {
    assert.deepStrictEqual(parse(`"${key}"`), parse(key))
    assert.deepStrictEqual(parse(`  ${key} `), parse(key))
  })
  const refused: ReadonlyArray<readonly [string, string | undefined, string]> = [
    ["nothing", undefined, "KeyMissing"],
    ["blanks", "  ", "KeyMissing"],
    ["version 1", "8e03978e-40d5-13e8-bc93-6894a57f9324", "KeyInvalid"],
    ["another variant", "8e03978e-40d5-43e8-cc93-6894a57f9324", "KeyInvalid"],
    ["upper case", key.toUpperCase(), "KeyInvalid"],
    ["a list", `${key}, ${key}`, "KeyInvalid"],
    ["half a quote", `"${key}`, "KeyInvalid"],
    ["very long", "a".repeat(1000), "KeyInvalid"]
  ]
  for (const [what, header, tag] of refused) {
    it(`refuses ${what}`, () => {
      const read = parse(header)
      assert.strictEqual(read._tag === "Failure" ? read.failure._tag : "taken", tag)
    })
  }
})

describe("Fingerprint", () => {
  it.prop(
    "does not see the order of members",
    {
      members: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Finite, Schema.Boolean, Schema.Null]))
    },
    ({ members }) => {
      const reversed = Object.fromEntries(Object.entries(members).toReversed())
      assert.strictEqual(canonical(members), canonical(reversed))
      // RFC 8785 is JSON: it reads back as what it was, but that -0 is 0.
      assert.strictEqual(canonical(JSON.parse(canonical(members)) as Json), canonical(members))
    }
  )
  it("writes numbers and strings as RFC 8785 shows in its section 3.2.2", () => {
    assert.strictEqual(
      canonical({
        numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27],
        string: '€$\u000f\nA\'B"\\\\"/',
        literals: [null, true, false]
      }),
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`
    )
  })
  it("tells apart method, route, version and body", () => {
    const all = [
      fingerprint("POST", "/v1/charges", "1", { amount: 1 }),
      fingerprint("PUT", "/v1/charges", "1", { amount: 1 }),
      fingerprint("POST", "/v1/refunds", "1", { amount: 1 }),
      fingerprint("POST", "/v1/charges", "2", { amount: 1 }),
      fingerprint("POST", "/v1/charges", "1", { amount: 2 })
    ]
    assert.strictEqual(new Set(all).size, all.length)
  })
})

describe("PspKey", () => {
  it("is derived: the same intent has the same key for ever", () => {
    assert.strictEqual(pspKey(TenantId.make("acme"), key, "charge", 1), "1eaec096-15cb-502d-841c-00d3e43420a7")
  })
  it("differs by tenant, key and generation", () => {
    const other = IdempotencyKey.make("8e03978e-40d5-43e8-bc93-6894a57f9325")
    const keys = [
      pspKey(TenantId.make("acme"), key, "charge", 1),
      pspKey(TenantId.make("acme"), key, "charge", 2),
      pspKey(TenantId.make("acme"), other, "charge", 1),
      pspKey(TenantId.make("acme1"), key, "charge", 1)
    ]
    assert.strictEqual(new Set(keys).size, keys.length)
  })
})

describe("Source", () => {
  const isSource = Schema.is(Source)
  for (const card of ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "378282246310005"]) {
    it(`refuses what looks like a card number: ${card.slice(-4)}`, () => {
      assert.isTrue(looksLikeCardNumber(card))
      assert.isFalse(isSource(card))
    })
  }
  it("takes tokens, and digits that are no card number", () => {
    assert.isTrue(isSource("tok_visa"))
    assert.isTrue(isSource("4242424242424241"))
  })
  it.prop("no number with one digit altered looks like the card it was", { digit: Schema.Int }, ({ digit }) => {
    const at = Math.abs(digit) % 16
    const card = "4242424242424242"
    const altered = card.slice(0, at) + String((Number(card[at]) + 1) % 10) + card.slice(at + 1)
    assert.isFalse(looksLikeCardNumber(altered))
  })
})

describe("Description, OrderId", () => {
  it("take what a database and a terminal can show, and no more than they should", () => {
    for (const good of ["two coffees", "Größe ☕", "a".repeat(128)]) {
      assert.isTrue(Schema.is(Description)(good))
      assert.isTrue(Schema.is(OrderId)(good))
    }
    for (const bad of ["", "a\u0000b", "line\nbreak", "\ud800", "a".repeat(501)]) {
      assert.isFalse(Schema.is(Description)(bad))
      assert.isFalse(Schema.is(OrderId)(bad))
    }
  })
})

describe("Money", () => {
  it("knows the minor units of ISO 4217", () => {
    assert.deepStrictEqual(
      ["USD", "JPY", "KWD", "CLF"].map((code) => exponent(Currency.make(code))),
      [2, 0, 3, 4]
    )
    assert.deepStrictEqual(
      [format(1050, Currency.make("USD")), format(5, Currency.make("USD")), format(1050, Currency.make("JPY"))],
      ["10.50 USD", "0.05 USD", "1050 JPY"]
    )
  })
  it("takes no currency that is none", () => {
    for (const code of ["usd", "XXX", "US", "", "constructor"]) assert.isFalse(Schema.is(Currency)(code))
  })
})

const chance = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 0.999999 }))
const attempts = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))
const backoff = { base: Duration.seconds(1), cap: Duration.minutes(15) }

describe("Backoff", () => {
  it.prop("waits within [0, min(cap, base 2^(n-1))]", { chance, attempts }, ({ chance, attempts }) => {
    const wait = Duration.toMillis(Backoff.delay(backoff, attempts, chance, Option.none()))
    assert.isAtLeast(wait, 0)
    assert.isAtMost(wait, Math.min(900_000, 1000 * 2 ** (attempts - 1)))
  })
  it.prop("never comes back before it was asked to", { chance, attempts }, ({ chance, attempts }) => {
    const wait = Backoff.delay(backoff, attempts, chance, Option.some(Duration.seconds(7)))
    assert.isAtLeast(Duration.toMillis(wait), 7000)
    assert.isAtMost(Duration.toMillis(wait), 8000)
  })
  it("an absurd hint is bounded by the cap", () => {
    const wait = Backoff.delay(backoff, 1, 0, Option.some(Duration.days(400)))
    assert.strictEqual(Duration.toMillis(wait), 900_000)
  })
})

const lease = (over: Partial<Lease>): Lease => ({
  operation: "o",
  epoch: 1,
  tenant: TenantId.make("acme"),
  key,
  pspKey: "k",
  charge: { ...request(), id: "c", operationState: "accepted", createdAt: "", failure: null } as Lease["charge"],
  attempts: 1,
  uncertain: false,
  sendable: true,
  traceparent: Option.none(),
  ...over
})

const limits = { ...backoff, attemptsMax: 12 }

const classOf = (reason: Parameters<typeof NextStep.after>[1]) => {
  const ack = NextStep.after(lease({}), reason, limits, 0)
  return ack._tag === "Park" ? ack._tag : `${ack._tag} ${ack.class}`
}

describe("NextStep", () => {
  it("looks before it sends again what may have been executed", () => {
    assert.strictEqual(NextStep.begin(lease({}), 12)._tag, "Send")
    assert.strictEqual(NextStep.begin(lease({ uncertain: true }), 12)._tag, "LookUp")
    assert.strictEqual(NextStep.begin(lease({ attempts: 13 }), 12)._tag, "GiveUp")
  })
  it("sends nothing the provider may have forgotten", () => {
    assert.strictEqual(NextStep.notFound(lease({ uncertain: true, sendable: true }))._tag, "Send")
    assert.strictEqual(NextStep.notFound(lease({ uncertain: true, sendable: false }))._tag, "GiveUp")
  })
  it.prop("unknown is retried or given to a person, never decided", { chance, attempts }, ({ chance, attempts }) => {
    const ack = NextStep.after(lease({ attempts }), new Unknown({ evidence: "reset" }), limits, chance)
    assert.strictEqual(ack._tag, attempts < 12 ? "Retry" : "Bury")
    assert.strictEqual(ack._tag === "Park" ? "" : ack.class, "unknown")
  })
  it("classes by evidence", () => {
    assert.deepStrictEqual(
      [
        classOf(new NotSent({ cause: "refused" })),
        classOf(new Busy({ retryAfter: Option.none(), limited: false })),
        classOf(new Invalid({ code: "bad", message: "no such source" }))
      ],
      ["Retry not_sent", "Retry busy", "Bury invalid"]
    )
  })
})

const account = (over: Partial<Account>): Account => ({
  id: "a",
  code: "receivable",
  currency: Currency.make("USD"),
  postedDebits: 0n,
  postedCredits: 0n,
  heldDebits: 0n,
  heldCredits: 0n,
  floor: null,
  version: 0n,
  createdAt: "",
  ...over
})
const amount = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }))

describe("Ledger", () => {
  it.prop(
    "a hold that is posted moves its amount, one that is voided leaves no trace but two versions",
    { amount },
    ({ amount }) => {
      const hold = { id: "h", kind: "hold" as const, hold: null, debit: "a", credit: "b", amount }
      const held = touched(account({}), hold)
      assert.deepStrictEqual(held, account({ heldDebits: BigInt(amount), version: 1n }))
      assert.deepStrictEqual(
        touched(held, { ...hold, id: "p", kind: "post", hold: "h" }),
        account({ postedDebits: BigInt(amount), version: 2n })
      )
      assert.deepStrictEqual(touched(held, { ...hold, id: "v", kind: "void", hold: "h" }), account({ version: 2n }))
    }
  )
  it.prop("a floor counts what is held, and says how much is short", { amount }, ({ amount }) => {
    const debit = account({ floor: -100n, heldDebits: 40n })
    const expected = amount <= 60 ? null : ({ code: "insufficient_funds", short_by: amount - 60 } as const)
    assert.deepStrictEqual(refusal(debit, account({}), amount), expected)
  })
})

describe("Settlement", () => {
  it("an event tells the charge as its caller is told", () => {
    const charge = settledBy(lease({}).charge, { _tag: "Captured", ref: "p" })
    const event = JSON.parse(eventOf(TenantId.make("acme"), statement(charge))) as object
    assert.deepStrictEqual(event, { tenant: "acme", ...(JSON.parse(statement(charge)) as object) })
  })
})

describe("Cursor", () => {
  it.prop(
    "comes back as the row it names",
    { row: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(60)) },
    ({ row }) => {
      if (!row.isWellFormed()) return
      assert.deepStrictEqual(
        Cursor.decode(Cursor.encode(row), () => true),
        Option.some(row)
      )
    }
  )
  it("of another make is none", () => {
    assert.isTrue(Option.isNone(Cursor.decode(Cursor.encode("x"), (text) => /^\d+$/.test(text))))
  })
})
