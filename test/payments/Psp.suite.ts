import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Fiber, Option } from "effect"

import { Psp, Source } from "../../src/domain/payments/Psp.ts"
import type { Capture } from "../../src/domain/payments/Psp.ts"
import { ScriptedBank } from "../../src/layers/payments/ScriptedPsp.ts"

let made = 0
/** A key that no other test has. */
const freshKey = () => `00000000-0000-4000-8000-${String(++made).padStart(12, "0")}`

const of = (source: string, more: Partial<Capture> = {}): Capture => ({
  pspKey: freshKey(),
  amount: 1250,
  currency: "EUR",
  source,
  ...more
})

const capture = (command: Capture) => Effect.flatMap(Psp, (psp) => psp.capture(command))
const lookup = (pspKey: string) => Effect.flatMap(Psp, (psp) => psp.lookup(pspKey))
const reasonOf = (command: Capture) => Effect.map(Effect.flip(capture(command)), ({ reason }) => reason)
const busyOf = (command: Capture) =>
  Effect.map(reasonOf(command), (reason) => {
    assert(reason._tag === "Busy", reason._tag)
    return reason
  })
const capturedOf = (pspKey: string) =>
  Effect.map(
    Effect.flatMap(ScriptedBank, (bank) => bank.captured),
    (payments) => payments.filter((payment) => payment.psp_key === pspKey)
  )

/** How a backend runs a test, and how its time passes. */
export interface Backend {
  readonly promise: <E>(title: string, body: Effect.Effect<void, E, Psp | ScriptedBank>) => void
  readonly passTime: (duration: Duration.Input) => Effect.Effect<void>
}

/** What every `Psp` promises, told by what a bank behind it really did. */
export const pspSuite = (name: string, { promise, passTime }: Backend) =>
  describe(`Psp (${name})`, () => {
    promise(
      "captures once under a key, however often it is sent",
      Effect.gen(function* () {
        const command = of("tok_visa", { description: "a chair" })
        const first = yield* capture(command)
        assert.strictEqual(first.amount, 1250)
        assert.strictEqual(first.currency, "EUR")
        assert.deepStrictEqual(yield* capture({ ...command, traceparent: undefined }), first)
        const payments = yield* capturedOf(command.pspKey)
        assert.strictEqual(payments.length, 1)
        assert.strictEqual(payments[0]?.id, first.ref)
        assert.strictEqual(payments[0]?.amount, 1250)
        assert.strictEqual(payments[0]?.state, "captured")
        assert.strictEqual(payments[0]?.sends, 2)
      })
    )

    promise(
      "captures once when the same key is sent many times at once",
      Effect.gen(function* () {
        const command = of("tok_slow")
        const all = yield* Effect.forkChild(
          Effect.all(
            Array.from({ length: 5 }, () => capture(command)),
            { concurrency: 5 }
          ),
          { startImmediately: true }
        )
        yield* passTime("3 seconds")
        const refs = (yield* Fiber.join(all)).map(({ ref }) => ref)
        assert.strictEqual(new Set(refs).size, 1)
        assert.strictEqual((yield* capturedOf(command.pspKey)).length, 1)
      })
    )

    promise(
      "calls another request under a used key invalid, and captures nothing for it",
      Effect.gen(function* () {
        const command = of("tok_visa")
        yield* capture(command)
        const reason = yield* reasonOf({ ...command, amount: 1 })
        assert(reason._tag === "Invalid")
        assert.strictEqual(reason.code, "idempotency_key_reused")
        assert.deepStrictEqual(
          (yield* capturedOf(command.pspKey)).map(({ amount }) => amount),
          [1250]
        )
      })
    )

    promise(
      "shows what stands on a card, and nothing for a token that nobody has",
      Effect.gen(function* () {
        const psp = yield* Psp
        assert.deepStrictEqual(
          Option.getOrThrow(yield* psp.source("tok_visa")),
          new Source({ brand: "visa", last4: "4242", expMonth: 12, expYear: 2034 })
        )
        assert.isTrue(Option.isNone(yield* psp.source("tok_nobody")))
        assert.isTrue(Option.isNone(yield* psp.source("../payments?psp_key=x")))
      })
    )

    promise(
      "tells a decline from a failure, and moves no money",
      Effect.gen(function* () {
        const command = of("tok_declined")
        const reason = yield* reasonOf(command)
        assert(reason._tag === "Declined")
        assert.strictEqual(reason.code, "card_declined")
        assert.strictEqual((yield* reasonOf(command))._tag, "Declined")
        const found = Option.getOrThrow(yield* lookup(command.pspKey))
        assert.strictEqual(found._tag, "Declined")
        assert.deepStrictEqual(yield* capturedOf(command.pspKey), [])
      })
    )

    promise(
      "passes on how long a busy provider wants to be left alone",
      Effect.gen(function* () {
        const command = of("tok_busy")
        for (let n = 0; n < 2; n++) {
          const busy = yield* busyOf(command)
          assert.isFalse(busy.limited)
          assert.deepStrictEqual(busy.retryAfter, Option.some(Duration.seconds(1)))
        }
        yield* capture(command)
        assert.strictEqual((yield* capturedOf(command.pspKey))[0]?.sends, 3)
      })
    )

    promise(
      "does not know whether an unanswered capture happened, until it looks it up",
      Effect.gen(function* () {
        const command = of("tok_timeout")
        assert.strictEqual((yield* reasonOf(command))._tag, "Unknown")
        const found = Option.getOrThrow(yield* lookup(command.pspKey))
        assert(found._tag === "Captured")
        assert.strictEqual(found.amount, command.amount)
        assert.strictEqual((yield* reasonOf(command))._tag, "Unknown")
        assert.strictEqual((yield* capturedOf(command.pspKey)).length, 1)
      })
    )

    promise(
      "waits for a slow provider",
      Effect.gen(function* () {
        const command = of("tok_slow")
        const slow = yield* Effect.forkChild(capture(command), { startImmediately: true })
        yield* passTime("3 seconds")
        assert.strictEqual((yield* Fiber.join(slow))._tag, "Captured")
      })
    )

    promise(
      "tells a provider that limits us from one that is down, until it lets us in",
      Effect.gen(function* () {
        const bank = yield* ScriptedBank
        const command = of("tok_dead")
        const busy = yield* busyOf(command)
        assert.isTrue(busy.limited)
        assert.isTrue(yield* bank.switch("tok_dead", true))
        yield* capture(command)
        assert.isTrue(yield* bank.switch("tok_dead", false))
        assert.strictEqual((yield* reasonOf(of("tok_dead")))._tag, "Busy")
      })
    )

    promise(
      "calls a source or an amount that makes no sense invalid",
      Effect.gen(function* () {
        const reason = yield* reasonOf(of("tok_nobody"))
        assert(reason._tag === "Invalid")
        assert.strictEqual(reason.code, "invalid_source")
        assert.strictEqual((yield* reasonOf(of("tok_visa", { amount: 0 })))._tag, "Invalid")
      })
    )

    promise(
      "finds nothing under a key that was never sent",
      Effect.gen(function* () {
        assert.isTrue(Option.isNone(yield* lookup(freshKey())))
      })
    )
  })
