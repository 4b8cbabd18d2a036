import { assert, describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Option, Ref } from "effect"
import { TestClock } from "effect/testing"

import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import { EventOutbox } from "../../src/domain/events/EventOutbox.ts"
import { Charges } from "../../src/domain/payments/Charges.ts"
import { Ledger } from "../../src/domain/payments/Ledger.ts"
import { Outbox } from "../../src/domain/payments/Outbox.ts"
import { Busy, Captured, NotSent, Psp, PspError, Unknown } from "../../src/domain/payments/Psp.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as ChargeIntake from "../../src/layers/payments/ChargeIntake.ts"
import * as PspWorker from "../../src/layers/payments/PspWorker.ts"
import * as ScriptedPsp from "../../src/layers/payments/ScriptedPsp.ts"
import * as Wake from "../../src/layers/payments/Wake.ts"
import { CurrentOrigin } from "../../src/layers/platform/Origin.ts"
import { accepted, freshTenant, intent } from "./intents.ts"
import { memory, settings } from "./stacks.ts"

const environment = { PSP_ATTEMPTS_MAX: "4", BREAKER_FAILURES: "3" }

/** The whole pipeline in memory around a provider. */
const around = <E, R>(psp: Layer.Layer<Psp | R, E>) =>
  PspWorker.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(psp, MemoryBreakers.layer, ChargeIntake.layer)),
    Layer.provideMerge(Layer.mergeAll(memory, Wake.layer)),
    Layer.provide(settings(environment))
  )

/** What a provider does to call after call; the last word is repeated. Remembers what it was asked. */
const playing = (script: ReadonlyArray<Effect.Effect<void, PspError["reason"]>>) =>
  Effect.gen(function* () {
    const asked = yield* Ref.make<ReadonlyArray<string>>([])
    const paid = yield* Ref.make<ReadonlyMap<string, Captured>>(new Map())
    const layer = Layer.succeed(
      Psp,
      Psp.of({
        capture: Effect.fnUntraced(function* ({ pspKey, amount, currency }) {
          const calls = yield* Ref.updateAndGet(asked, (all) => [...all, pspKey])
          const act = script[Math.min(calls.length, script.length) - 1] ?? Effect.void
          yield* Effect.mapError(act, (reason) => new PspError({ reason }))
          const captured = new Captured({ ref: `p-${pspKey}`, amount, currency })
          yield* Ref.update(paid, (all) => new Map(all).set(pspKey, captured))
          return captured
        }),
        lookup: (pspKey) => Effect.map(Ref.get(paid), (all) => Option.fromUndefinedOr(all.get(pspKey))),
        source: () => Effect.succeedNone
      })
    )
    return { layer, asked: Ref.get(asked), paid }
  })

const stateOf = Effect.fnUntraced(function* (asked: ReturnType<typeof intent>) {
  const { rows } = yield* (yield* Charges).list(asked.tenant, { limit: 1, after: Option.none() })
  return rows[0]?.operationState
})

const busy = Effect.fail(new Busy({ retryAfter: Option.none(), limited: true }))
const lost = Effect.fail(new Unknown({ evidence: "no answer" }))
const away = Effect.fail(new NotSent({ cause: "refused" }))

describe("PspWorker", () => {
  it.effect("carries each token of the provider to its end, and the ledger agrees with the bank", () =>
    Effect.gen(function* () {
      const bank = yield* ScriptedPsp.ScriptedBank
      const tenant = freshTenant()
      const tokens = ["tok_visa", "tok_declined", "tok_busy", "tok_timeout", "tok_slow", "tok_unheard_of"]
      const asks = tokens.map((source) => intent({ tenant, ask: { source } }))
      yield* Effect.forEach(asks, accepted)
      yield* TestClock.adjust("10 minutes")
      const { rows } = yield* (yield* Charges).list(tenant, { limit: 10, after: Option.none() })
      assert.deepStrictEqual(Object.fromEntries(rows.map((charge) => [charge.source, charge.operationState])), {
        tok_visa: "succeeded",
        tok_declined: "failed",
        tok_busy: "succeeded",
        tok_timeout: "succeeded",
        tok_slow: "succeeded",
        tok_unheard_of: "needs_review"
      })
      const captured = yield* bank.captured
      assert.strictEqual(captured.length, 4)
      const [usd] = yield* (yield* Ledger).audit
      assert.deepInclude(usd, { postedDebits: 4200n, postedCredits: 4200n, astray: 0 })
      // The unsettled one is still promised: nobody knows that it was not charged.
      assert.strictEqual(usd?.heldDebits, 1050n)
      const staged = yield* (yield* EventOutbox).backlog
      assert.strictEqual(staged.waiting, 5)
    }).pipe(Effect.provide(around(ScriptedPsp.layer)))
  )

  it.effect("what the provider keeps refusing ends in the dead letters, and a redrive finishes it", () =>
    Effect.gen(function* () {
      const bank = yield* ScriptedPsp.ScriptedBank
      const outbox = yield* Outbox
      const asked = intent({ ask: { source: "tok_dead" } })
      yield* accepted(asked)
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* stateOf(asked), "needs_review")
      const { rows } = yield* outbox.deadLetters({ limit: 10, after: Option.none() })
      assert.deepStrictEqual(
        rows.map((letter) => [letter.attempts, letter.class, letter.history.length]),
        [[4, "busy", 4]]
      )
      yield* bank.switch("tok_dead", true)
      yield* outbox.redrive({ operations: "all", limit: 10, evidence: false })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* stateOf(asked), "succeeded")
      assert.lengthOf(yield* bank.captured, 1)
    }).pipe(Effect.provide(around(ScriptedPsp.layer)))
  )

  it.effect("an answer that was lost is looked up, not sent again", () =>
    Effect.gen(function* () {
      const psp = yield* playing([Effect.void])
      // Captured on the provider's side, and the answer lost on the way.
      const losing = Layer.effect(
        Psp,
        Effect.map(Psp, (inner) =>
          Psp.of({
            ...inner,
            capture: (command) =>
              Effect.andThen(
                inner.capture(command),
                Effect.fail(new PspError({ reason: new Unknown({ evidence: "reset" }) }))
              )
          })
        )
      ).pipe(Layer.provide(psp.layer))
      yield* Effect.gen(function* () {
        const asked = intent()
        yield* accepted(asked)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* stateOf(asked), "succeeded")
      }).pipe(Effect.provide(around(losing)))
      assert.lengthOf(yield* psp.asked, 1)
    })
  )

  it.effect("every send of a command carries the same key", () =>
    Effect.gen(function* () {
      const psp = yield* playing([busy, lost, busy, Effect.void])
      yield* Effect.gen(function* () {
        const asked = intent()
        yield* accepted(asked)
        yield* TestClock.adjust("5 minutes")
        assert.strictEqual(yield* stateOf(asked), "succeeded")
      }).pipe(Effect.provide(around(psp.layer)))
      const keys = yield* psp.asked
      assert.lengthOf(keys, 4)
      assert.strictEqual(new Set(keys).size, 1)
    })
  )

  it.effect("an open breaker parks commands and spends none of their attempts", () =>
    Effect.gen(function* () {
      const psp = yield* playing([away, away, away, away, away, away, Effect.void])
      yield* Effect.gen(function* () {
        const tenant = freshTenant()
        const asks = Array.from({ length: 6 }, () => intent({ tenant }))
        yield* Effect.forEach(asks, accepted)
        yield* TestClock.adjust("10 minutes")
        const { rows } = yield* (yield* Charges).list(tenant, { limit: 10, after: Option.none() })
        // Six refusals among six commands of four attempts each: parked ones had theirs left.
        assert.deepStrictEqual([...new Set(rows.map((charge) => charge.operationState))], ["succeeded"])
      }).pipe(Effect.provide(around(psp.layer)))
    })
  )

  it.effect("an order to keep away from the provider holds up nothing once it is lifted", () =>
    Effect.gen(function* () {
      const psp = yield* playing([Effect.void])
      yield* Effect.gen(function* () {
        const breakers = yield* Breakers
        const order = { to: "open", until: DateTime.addDuration(yield* DateTime.now, Duration.hours(1)) } as const
        yield* breakers.force("psp", order)
        const asked = intent()
        yield* accepted(asked)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* psp.asked, [])
        yield* breakers.force("psp", undefined)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* stateOf(asked), "succeeded")
      }).pipe(Effect.provide(around(psp.layer)))
    })
  )

  it.effect("nor does it hold up a command that was claimed as the order came", () =>
    Effect.gen(function* () {
      const psp = yield* playing([Effect.void])
      yield* Effect.gen(function* () {
        const [breakers, outbox] = [yield* Breakers, yield* Outbox]
        const order = { to: "open", until: DateTime.addDuration(yield* DateTime.now, Duration.hours(1)) } as const
        const crossing = Outbox.of({
          ...outbox,
          claim: (owner, limit) => Effect.tap(outbox.claim(owner, limit), () => breakers.force("psp", order))
        })
        const asked = intent()
        yield* accepted(asked)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* Layer.build(PspWorker.layer.pipe(Layer.provide([psp.layer, Wake.layer]), Layer.provide(settings())))
            yield* TestClock.adjust("1 minute")
          }).pipe(Effect.provideService(Outbox, crossing))
        )
        assert.deepStrictEqual(yield* psp.asked, [])
        assert.lengthOf(yield* outbox.claim("another", 1), 1)
      }).pipe(Effect.provide(Layer.provideMerge(MemoryBreakers.layer.pipe(Layer.provide(settings())), memory)))
    })
  )

  it.effect("works on in the trace of the request that asked", () =>
    Effect.gen(function* () {
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      const seen: Array<string | undefined> = []
      const watching: Layer.Layer<Psp> = Layer.succeed(
        Psp,
        Psp.of({
          capture: Effect.fnUntraced(function* ({ amount, currency }) {
            seen.push((yield* CurrentOrigin)?.traceparent)
            return new Captured({ ref: "p", amount, currency })
          }),
          lookup: () => Effect.succeedNone,
          source: () => Effect.succeedNone
        })
      )
      yield* Effect.gen(function* () {
        yield* accepted({ ...intent(), traceparent: Option.some(traceparent) })
        yield* TestClock.adjust("1 second")
        yield* accepted(intent())
        yield* TestClock.adjust("1 second")
      }).pipe(Effect.provide(around(watching)))
      assert.deepStrictEqual(seen, [traceparent, undefined])
    })
  )

  it.effect("success about other money is no success", () =>
    Effect.gen(function* () {
      const wrong = Layer.succeed(
        Psp,
        Psp.of({
          capture: () => Effect.fail(new PspError({ reason: new Unknown({ evidence: "reset" }) })),
          lookup: () => Effect.succeedSome(new Captured({ ref: "p", amount: 1, currency: "USD" })),
          source: () => Effect.succeedNone
        })
      )
      yield* Effect.gen(function* () {
        const asked = intent()
        yield* accepted(asked)
        yield* TestClock.adjust("30 minutes")
        assert.strictEqual(yield* stateOf(asked), "needs_review")
        const { rows } = yield* (yield* Outbox).deadLetters({ limit: 1, after: Option.none() })
        assert.include(rows[0]?.error, "captured 1 USD")
      }).pipe(Effect.provide(around(wrong)))
    })
  )

  it.effect("stopping lets a call in flight come to its end", () =>
    Effect.gen(function* () {
      const psp = yield* playing([Effect.sleep("3 seconds")])
      const asked = intent()
      yield* Effect.gen(function* () {
        const charges = yield* Charges
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* Layer.build(
              PspWorker.layer.pipe(
                Layer.provide([psp.layer, MemoryBreakers.layer, Wake.layer]),
                Layer.provide(settings())
              )
            )
            yield* charges.accept(asked)
            yield* TestClock.adjust("1 second")
          })
        ).pipe(Effect.forkChild({ startImmediately: true }))
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* stateOf(asked), "succeeded")
      }).pipe(Effect.provide(memory))
    })
  )
})

describe("ChargeIntake", () => {
  it.effect("who waits is told the outcome, who does not is told that it is on its way", () =>
    Effect.gen(function* () {
      const { charge } = yield* ChargeIntake.ChargeIntake
      const waiting = intent({ ask: { source: "tok_slow" } })
      const fiber = yield* Effect.forkChild(charge(waiting, Duration.seconds(10)), { startImmediately: true })
      const hasty = intent()
      const answer = yield* charge(hasty, Duration.zero)
      assert.deepInclude(answer, { outcome: "pending", replayed: false })
      yield* TestClock.adjust("5 seconds")
      const told = yield* Fiber.join(fiber)
      assert.deepInclude(told, { outcome: "succeeded", replayed: false })
      const again = yield* charge(waiting, Duration.zero)
      assert.deepInclude(again, { outcome: "succeeded", replayed: true, document: told.document })
    }).pipe(Effect.provide(around(ScriptedPsp.layer)))
  )

  it.effect("a wait that ends before the outcome is answered as pending", () =>
    Effect.gen(function* () {
      const { charge } = yield* ChargeIntake.ChargeIntake
      const fiber = yield* Effect.forkChild(charge(intent({ ask: { source: "tok_dead" } }), Duration.seconds(2)), {
        startImmediately: true
      })
      yield* TestClock.adjust("3 seconds")
      const told = yield* Fiber.join(fiber)
      assert.strictEqual(told.outcome, "pending")
    }).pipe(Effect.provide(around(ScriptedPsp.layer)))
  )
})
