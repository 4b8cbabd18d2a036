import { assert, layer } from "@effect/vitest"
import { Effect, type Layer, Option } from "effect"

import { TenantId } from "../../src/domain/Ids.ts"
import { Currency, MinorUnits } from "../../src/domain/Money.ts"
import { ChargeId, statement } from "../../src/domain/payments/Charge.ts"
import { type AcceptError, Charges } from "../../src/domain/payments/Charges.ts"
import { IdempotencyStore, type Told } from "../../src/domain/payments/IdempotencyStore.ts"
import { Ledger } from "../../src/domain/payments/Ledger.ts"
import type { Outbox } from "../../src/domain/payments/Outbox.ts"
import { accepted, captured, claimed, declined, freshKey, freshTenant, intent, PassTime, request } from "./intents.ts"

export type PaymentPorts = Charges | Outbox | Ledger | IdempotencyStore | PassTime

const first = { limit: 100, after: Option.none() }

const untimed = (told: Told) => ({ ...told, ttlMillis: 0 })

const reasonOf = <A, R>(effect: Effect.Effect<A, AcceptError, R>) =>
  Effect.map(Effect.flip(effect), (error): object => error.reason)

/** What every `Charges` promises. An adapter that passes may stand in for any other. */
export const chargesSuite = <E>(
  name: string,
  ports: Layer.Layer<PaymentPorts, E>,
  options: { readonly excludeTestServices: boolean }
) =>
  layer(ports, { ...options, timeout: "60 seconds" })(`Charges (${name})`, (it) => {
    it.effect("accepting promises the amount in the ledger and leaves nothing posted", () =>
      Effect.gen(function* () {
        const asked = intent({ ask: { description: "two coffees", orderId: "o-1" } })
        const charge = yield* accepted(asked)
        assert.deepInclude(charge, { ...asked.request, operationState: "accepted", failure: null })
        assert.match(charge.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
        const { rows } = yield* (yield* Ledger).accounts(asked.tenant, first)
        assert.deepStrictEqual(
          rows
            .map((a) => [a.code, a.currency, a.heldDebits, a.heldCredits, a.postedDebits, a.postedCredits, a.version])
            .toSorted(),
          [
            ["payable", "USD", 0n, 1050n, 0n, 0n, 1n],
            ["receivable", "USD", 1050n, 0n, 0n, 0n, 1n]
          ]
        )
      })
    )

    it.effect("the same request under the same key is the same charge", () =>
      Effect.gen(function* () {
        const asked = intent()
        const charge = yield* accepted(asked)
        const again = yield* (yield* Charges).accept(asked)
        assert.strictEqual(again._tag, "Open")
        assert.deepStrictEqual(again._tag === "Open" ? again.charge : undefined, charge)
      })
    )

    it.effect("many at once under one key make one charge", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const asked = intent()
        const all = yield* Effect.all(
          Array.from({ length: 20 }, () => charges.accept(asked)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          all.map((one) => one._tag).toSorted(),
          ["Accepted", ...Array.from({ length: 19 }, () => "Open")].toSorted()
        )
        const { rows } = yield* charges.list(asked.tenant, first)
        assert.lengthOf(rows, 1)
      })
    )

    it.effect("another request under the key is refused and executes nothing, also when they race", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const tenant = freshTenant()
        const key = freshKey()
        const asks = Array.from({ length: 8 }, (_, i) =>
          intent({ tenant, key, ask: { amount: MinorUnits.make(i + 1) } })
        )
        const exits = yield* Effect.forEach(asks, (ask) => Effect.result(charges.accept(ask)), {
          concurrency: "unbounded"
        })
        assert.lengthOf(
          exits.filter((exit) => exit._tag === "Success"),
          1
        )
        for (const exit of exits) {
          if (exit._tag === "Failure") assert.strictEqual(exit.failure.reason._tag, "KeyReused")
        }
        assert.lengthOf((yield* charges.list(tenant, first)).rows, 1)
      })
    )

    it.effect("two tenants may use one key and never see each other's charge", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const key = freshKey()
        const mine = intent({ key })
        const charge = yield* accepted(mine)
        const theirs = yield* accepted(intent({ key, ask: { amount: MinorUnits.make(7) } }))
        assert.notStrictEqual(charge.id, theirs.id)
        assert.strictEqual((yield* Effect.flip(charges.find(mine.tenant, theirs.id)))._tag, "NoSuchCharge")
        assert.deepStrictEqual(yield* charges.find(mine.tenant, charge.id), charge)
      })
    )

    it.effect("a capture posts the hold and is told the same way for ever", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const asked = intent()
        const charge = yield* accepted(asked)
        const settled = yield* charges.settle(captured(yield* claimed(asked.tenant)))
        const succeeded = { ...charge, operationState: "succeeded" as const }
        assert.strictEqual(settled._tag, "Settled")
        assert.deepStrictEqual(yield* charges.find(asked.tenant, charge.id), succeeded)
        const again = yield* charges.accept(asked)
        assert.strictEqual(again._tag, "Settled")
        if (again._tag !== "Settled" || settled._tag !== "Settled") return
        assert.strictEqual(again.told.document, statement(succeeded))
        assert.deepStrictEqual(untimed(again.told), untimed(settled.told))
        assert.isAtMost(again.told.ttlMillis, 24 * 3_600_000)
        assert.strictEqual(again.told.fingerprint, asked.fingerprint)
        const { rows } = yield* (yield* Ledger).accounts(asked.tenant, first)
        assert.deepStrictEqual(
          rows.map((a) => [a.code, a.heldDebits + a.heldCredits, a.postedDebits, a.postedCredits]).toSorted(),
          [
            ["payable", 0n, 0n, 1050n],
            ["receivable", 0n, 1050n, 0n]
          ]
        )
      })
    )

    it.effect("a decline voids the hold, is an outcome, and frees the order", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const asked = intent({ ask: { orderId: "o-9" } })
        const charge = yield* accepted(asked)
        const other = intent({ tenant: asked.tenant, ask: { orderId: "o-9" } })
        assert.deepInclude(yield* reasonOf(charges.accept(other)), { _tag: "OrderAlreadyCharged", charge: charge.id })
        yield* charges.settle(declined(yield* claimed(asked.tenant)))
        const again = yield* charges.accept(asked)
        assert.strictEqual(again._tag === "Settled" ? again.told.outcome : again._tag, "failed")
        const failed = yield* charges.find(asked.tenant, charge.id)
        assert.deepStrictEqual(failed.failure, { code: "card_declined", message: "The card was declined." })
        // The key refused for its order was never used, so it may be used now.
        assert.strictEqual((yield* accepted(other)).orderId, "o-9")
        const { rows } = yield* (yield* Ledger).accounts(asked.tenant, first)
        assert.deepStrictEqual(
          rows.map((a) => a.postedDebits + a.postedCredits),
          [0n, 0n]
        )
      })
    )

    it.effect("an order is charged once, whoever comes first, in whatever currency", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const tenant = freshTenant()
        const results = yield* Effect.forEach(
          ["USD", "EUR", "JPY", "KWD", "USD", "EUR"],
          (code) =>
            Effect.result(charges.accept(intent({ tenant, ask: { orderId: "one", currency: Currency.make(code) } }))),
          { concurrency: "unbounded" }
        )
        const refusals = results.flatMap((result) => (result._tag === "Failure" ? [result.failure.reason._tag] : []))
        assert.deepStrictEqual(
          refusals,
          Array.from({ length: 5 }, () => "OrderAlreadyCharged")
        )
      })
    )

    it.effect("a lease settles once; a second settlement changes nothing", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const asked = intent()
        yield* accepted(asked)
        const lease = yield* claimed(asked.tenant)
        yield* charges.settle(captured(lease))
        assert.deepStrictEqual(yield* charges.settle(declined(lease)), { _tag: "Fenced" })
        const { rows } = yield* charges.list(asked.tenant, first)
        assert.deepStrictEqual(
          rows.map((charge) => charge.operationState),
          ["succeeded"]
        )
      })
    )

    it.effect("a worker whose lease was taken over settles nothing", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const asked = intent()
        yield* accepted(asked)
        const zombie = yield* claimed(asked.tenant)
        yield* (yield* PassTime)("2 minutes")
        const owner = yield* claimed(asked.tenant)
        assert.isTrue(owner.uncertain)
        assert.deepStrictEqual(yield* charges.settle(captured(zombie)), { _tag: "Fenced" })
        assert.strictEqual((yield* charges.settle(captured(owner)))._tag, "Settled")
      })
    )

    it.effect("after its time a key is no longer replayed and still never charges again", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const store = yield* IdempotencyStore
        const asked = intent()
        const charge = yield* accepted(asked)
        yield* charges.settle(captured(yield* claimed(asked.tenant)))
        yield* (yield* PassTime)("25 hours")
        const expected = { _tag: "ResultExpired", charge: charge.id }
        assert.deepInclude(yield* reasonOf(charges.accept(asked)), expected)
        while ((yield* store.reap(100)) > 0);
        assert.strictEqual((yield* Effect.flip(store.inspect(asked.tenant, asked.key)))._tag, "NoSuchKey")
        assert.deepInclude(yield* reasonOf(charges.accept(asked)), expected)
        assert.lengthOf((yield* charges.list(asked.tenant, first)).rows, 1)
        yield* (yield* PassTime)("90 days")
        while ((yield* store.reap(100)) > 0);
        assert.deepInclude(yield* reasonOf(charges.accept(asked)), expected)
      })
    )

    it.effect("an open key outlives its time: only evidence ends it", () =>
      Effect.gen(function* () {
        const asked = intent()
        yield* accepted(asked)
        yield* (yield* PassTime)("25 hours")
        while ((yield* (yield* IdempotencyStore).reap(100)) > 0);
        assert.strictEqual((yield* (yield* Charges).accept(asked))._tag, "Open")
      })
    )

    it.effect("pages neither skip nor repeat while charges arrive, newest first", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const tenant = freshTenant()
        const made = yield* Effect.forEach(Array.from({ length: 7 }), () => accepted(intent({ tenant })))
        const seen: Array<string> = []
        let after = Option.none<string>()
        do {
          const page = yield* charges.list(tenant, { limit: 3, after })
          seen.push(...page.rows.map((charge) => charge.id))
          after = page.next
          yield* accepted(intent({ tenant }))
        } while (Option.isSome(after))
        assert.deepStrictEqual(seen, made.map((charge) => charge.id).toReversed())
      })
    )

    it.effect("no such charge", () =>
      Effect.gen(function* () {
        const id = ChargeId.make("00000000-0000-7000-8000-000000000000")
        const error = yield* Effect.flip((yield* Charges).find(TenantId.make("nobody"), id))
        assert.strictEqual(error._tag, "NoSuchCharge")
      })
    )

    it.effect("sums that would leave 64 bits are refused by the ledger, and the refusal stands under the key", () =>
      Effect.gen(function* () {
        const charges = yield* Charges
        const tenant = freshTenant()
        const huge = request({ amount: MinorUnits.make(Number.MAX_SAFE_INTEGER) })
        yield* Effect.forEach(Array.from({ length: 1024 }), () => charges.accept(intent({ tenant, request: huge })), {
          concurrency: 8,
          discard: true
        })
        const asked = intent({ tenant, request: huge })
        const refused = yield* charges.accept(asked)
        assert.strictEqual(refused._tag, "Refused")
        const again = yield* charges.accept(asked)
        assert.strictEqual(again._tag, "Settled")
        if (refused._tag !== "Refused" || again._tag !== "Settled") return
        assert.deepStrictEqual(untimed(again.told), untimed(refused.told))
        assert.strictEqual(again.told.document.replaceAll(" ", ""), `{"code":"account_limit"}`)
        assert.isNull(again.told.charge)
      })
    )

    it.effect("whatever happened, debits equal credits and every balance is the fold of its transfers", () =>
      Effect.gen(function* () {
        const sums = yield* (yield* Ledger).audit
        assert.isAbove(sums.length, 0)
        for (const sum of sums) {
          assert.strictEqual(sum.postedDebits, sum.postedCredits)
          assert.strictEqual(sum.heldDebits, sum.heldCredits)
          assert.strictEqual(sum.astray, 0)
        }
      })
    )
  })
