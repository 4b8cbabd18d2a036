import { assert, layer } from "@effect/vitest"
import { Duration, Effect, type Layer, Option } from "effect"

import { Charges } from "../../src/domain/payments/Charges.ts"
import { IdempotencyStore } from "../../src/domain/payments/IdempotencyStore.ts"
import { type Ack, Outbox } from "../../src/domain/payments/Outbox.ts"
import { pspKey } from "../../src/domain/payments/PspKey.ts"
import type { PaymentPorts } from "./Charges.suite.ts"
import { accepted, captured, claimed, freshTenant, intent, PassTime } from "./intents.ts"

const retry = (delay: Duration.Input, kind: "busy" | "unknown" = "busy"): Ack => ({
  _tag: "Retry",
  class: kind,
  error: "come back later",
  delay: Duration.fromInputUnsafe(delay)
})
const bury = (kind: "busy" | "unknown"): Ack => ({ _tag: "Bury", class: kind, error: "spent" })

/** What every `Outbox` promises. An adapter that passes may stand in for any other. */
export const outboxSuite = <E>(
  name: string,
  ports: Layer.Layer<PaymentPorts, E>,
  options: { readonly excludeTestServices: boolean }
) =>
  layer(ports, { ...options, timeout: "60 seconds" })(`Outbox (${name})`, (it) => {
    it.effect("a claim says all that is needed to send, and the same key every time", () =>
      Effect.gen(function* () {
        const asked = {
          ...intent(),
          traceparent: Option.some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        }
        const charge = yield* accepted(asked)
        const lease = yield* claimed(asked.tenant)
        assert.deepInclude(lease, {
          charge,
          key: asked.key,
          tenant: asked.tenant,
          attempts: 1,
          uncertain: false,
          sendable: true,
          traceparent: asked.traceparent,
          pspKey: pspKey(asked.tenant, asked.key, "charge", 1)
        })
        yield* (yield* Outbox).ack(lease, retry("0 millis"))
        assert.strictEqual((yield* claimed(asked.tenant)).pspKey, lease.pspKey)
      })
    )

    it.effect("many workers at once never hold one command together", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const tenant = freshTenant()
        yield* Effect.forEach(Array.from({ length: 40 }), () => accepted(intent({ tenant })))
        const batches = yield* Effect.forEach(Array.from({ length: 16 }), (_, i) => outbox.claim(`w${i}`, 5), {
          concurrency: "unbounded"
        })
        const held = batches.flat().filter((lease) => lease.tenant === tenant)
        const rest = (yield* outbox.claim("last", 1000)).filter((lease) => lease.tenant === tenant)
        const all = [...held, ...rest].map((lease) => lease.operation)
        assert.strictEqual(new Set(all).size, 40)
        assert.lengthOf(all, 40)
      })
    )

    it.effect("one tenant's backlog does not keep another waiting", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        yield* outbox.claim("sweep", 1000)
        const [flood, calm] = [freshTenant(), freshTenant()]
        yield* Effect.forEach(Array.from({ length: 30 }), () => accepted(intent({ tenant: flood })))
        yield* accepted(intent({ tenant: calm }))
        const first = yield* outbox.claim("one", 4)
        assert.include(
          first.map((lease) => lease.tenant),
          calm
        )
      })
    )

    it.effect("what is to be retried waits its time, and the attempts count", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        assert.isTrue(yield* outbox.ack(yield* claimed(asked.tenant), retry("30 seconds")))
        const early = (yield* outbox.claim("early", 1000)).filter((lease) => lease.tenant === asked.tenant)
        assert.lengthOf(early, 0)
        yield* (yield* PassTime)("31 seconds")
        const lease = yield* claimed(asked.tenant)
        assert.strictEqual(lease.attempts, 2)
        assert.isFalse(lease.uncertain)
      })
    )

    it.effect("a parked command waits without spending an attempt", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        for (let i = 0; i < 5; i++) {
          const lease = yield* claimed(asked.tenant)
          assert.strictEqual(lease.attempts, 1)
          assert.isTrue(yield* outbox.ack(lease, { _tag: "Park", delay: Duration.seconds(1) }))
          yield* (yield* PassTime)("2 seconds")
        }
      })
    )

    it.effect("a lease that ends without a word is taken over as uncertain, and its holder is fenced", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        const zombie = yield* claimed(asked.tenant)
        yield* (yield* PassTime)("2 minutes")
        const owner = yield* claimed(asked.tenant)
        assert.isAbove(owner.epoch, zombie.epoch)
        assert.isTrue(owner.uncertain)
        assert.isFalse(yield* outbox.ack(zombie, bury("busy")))
        assert.isFalse(yield* outbox.ack(zombie, { _tag: "Park", delay: Duration.zero }))
        assert.isTrue(yield* outbox.ack(owner, retry("0 millis")))
      })
    )

    it.effect("an unknown outcome shows on the charge and makes the next attempt uncertain", () =>
      Effect.gen(function* () {
        const asked = intent()
        const charge = yield* accepted(asked)
        yield* (yield* Outbox).ack(yield* claimed(asked.tenant), retry("0 millis", "unknown"))
        assert.strictEqual((yield* (yield* Charges).find(asked.tenant, charge.id)).operationState, "unknown")
        assert.isTrue((yield* claimed(asked.tenant)).uncertain)
        const known = yield* (yield* IdempotencyStore).inspect(asked.tenant, asked.key)
        assert.deepInclude(known, { charge: charge.id, state: "unknown", attempts: 2, fingerprint: asked.fingerprint })
        assert.isTrue(Option.isSome(known.nextAttemptAt))
      })
    )

    it.effect("no send is allowed once the provider may have forgotten an uncertain one", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        yield* outbox.ack(yield* claimed(asked.tenant), retry("0 millis", "unknown"))
        yield* (yield* PassTime)("22 hours")
        const late = yield* claimed(asked.tenant)
        assert.isTrue(late.sendable)
        yield* outbox.ack(late, retry("0 millis", "unknown"))
        yield* (yield* PassTime)("61 minutes")
        assert.isFalse((yield* claimed(asked.tenant)).sendable)
      })
    )

    it.effect("what was never executed may be sent however late", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        yield* outbox.ack(yield* claimed(asked.tenant), retry("0 millis", "busy"))
        yield* (yield* PassTime)("30 hours")
        assert.isTrue((yield* claimed(asked.tenant)).sendable)
      })
    )

    it.effect("a dead letter keeps its history, and redriving keeps its key", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        const charge = yield* accepted(asked)
        yield* outbox.ack(yield* claimed(asked.tenant), retry("0 millis"))
        const last = yield* claimed(asked.tenant)
        yield* outbox.ack(last, bury("busy"))
        const charges = yield* Charges
        assert.strictEqual((yield* charges.find(asked.tenant, charge.id)).operationState, "needs_review")
        const letter = yield* outbox.deadLetter(last.operation)
        assert.deepInclude(letter, { class: "busy", error: "spent", attempts: 2, pspKey: last.pspKey, key: asked.key })
        assert.deepStrictEqual(
          letter.history.map((attempt) => [attempt.number, attempt.class, Option.isSome(attempt.finishedAt)]),
          [
            [1, "busy", true],
            [2, "busy", true]
          ]
        )
        const { rows } = yield* outbox.deadLetters({ limit: 100, after: Option.none() })
        assert.include(
          rows.map((row) => row.operation),
          last.operation
        )
        assert.deepStrictEqual(yield* outbox.deadLetter(charge.id), letter)
        const only = { operations: [charge.id], limit: 10, evidence: false }
        assert.deepStrictEqual(yield* outbox.redrive(only), { redriven: [last.operation], refused: [] })
        assert.deepStrictEqual(yield* outbox.redrive(only), { redriven: [], refused: [] })
        assert.strictEqual((yield* charges.find(asked.tenant, charge.id)).operationState, "accepted")
        const again = yield* claimed(asked.tenant)
        assert.deepInclude(again, { pspKey: last.pspKey, attempts: 1 })
        assert.strictEqual((yield* charges.settle(captured(again)))._tag, "Settled")
        assert.strictEqual((yield* Effect.flip(outbox.deadLetter(last.operation)))._tag, "NoSuchDeadLetter")
      })
    )

    it.effect("an unknown outcome past the provider's window is redriven only when someone vouches for it", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        const charge = yield* accepted(asked)
        const lease = yield* claimed(asked.tenant)
        yield* outbox.ack(lease, bury("unknown"))
        yield* (yield* PassTime)("24 hours")
        const only = { operations: [lease.operation], limit: 10 }
        assert.deepStrictEqual(yield* outbox.redrive({ ...only, evidence: false }), {
          redriven: [],
          refused: [lease.operation]
        })
        assert.strictEqual((yield* (yield* Charges).find(asked.tenant, charge.id)).operationState, "needs_review")
        yield* outbox.redrive({ ...only, evidence: true })
        assert.deepInclude(yield* claimed(asked.tenant), { sendable: true, uncertain: false })
      })
    )

    it.effect("redriving is bounded", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const tenant = freshTenant()
        yield* Effect.forEach(Array.from({ length: 5 }), () => accepted(intent({ tenant })))
        const leases = (yield* outbox.claim("w", 1000)).filter((lease) => lease.tenant === tenant)
        yield* Effect.forEach(leases, (lease) => outbox.ack(lease, bury("busy")))
        const operations = leases.map((lease) => lease.operation)
        assert.lengthOf((yield* outbox.redrive({ operations, limit: 3, evidence: false })).redriven, 3)
        assert.lengthOf((yield* outbox.redrive({ operations, limit: 3, evidence: false })).redriven, 2)
      })
    )

    it.effect("staging gives an operation one command, and a settled one none", () =>
      Effect.gen(function* () {
        const outbox = yield* Outbox
        const asked = intent()
        yield* accepted(asked)
        const lease = yield* claimed(asked.tenant)
        yield* outbox.stage(lease.operation)
        assert.isTrue(yield* outbox.ack(lease, retry("0 millis")))
        yield* (yield* Charges).settle(captured(yield* claimed(asked.tenant)))
        yield* outbox.stage(lease.operation)
        const left = (yield* outbox.claim("w", 1000)).filter((found) => found.tenant === asked.tenant)
        assert.lengthOf(left, 0)
      })
    )
  })
