/**
 * Ways to a fallback for a write, or for a read whose answer counts as true. The compiler refuses each but one,
 * which `npm run check` sees: a way that begins to compile leaves its `@ts-expect-error` without an error. And
 * whoever gets past the compiler dies before the call runs.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit } from "effect"

import { Breaker, type BreakerError } from "../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"

const psp = Dependency.make("psp", "http", { timeout: Duration.seconds(1) })
const classify: Dependency.Classify<never> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })

const capture = Dependency.write(psp, "capture", { classify })
const balance = Dependency.read(psp, "balance", { authoritative: true, classify })
const brand = Dependency.read(psp, "brand", { authoritative: false, maxAge: "1 hour", classify })

const taking = (timeout: Duration.Input) => Dependency.write(psp, "capture", { classify, timeout })

const fallback = Effect.succeed({ value: 1, age: Duration.zero })

describe("a fallback for what must fail loud", () => {
  it("is not declared", () => {
    const [withOne, reading] = [
      { classify, fallback },
      { authoritative: true, classify, fallback }
    ] as const
    const ways: ReadonlyArray<() => unknown> = [
      // @ts-expect-error a write takes none
      () => Dependency.write(psp, "capture", { classify, fallback }),
      // @ts-expect-error through a variable
      () => Dependency.write(psp, "capture", withOne),
      // @ts-expect-error as a part of another
      () => Dependency.write(psp, "capture", { ...withOne }),
      // @ts-expect-error nor does a read whose answer counts as true
      () => Dependency.read(psp, "balance", { authoritative: true, classify, fallback }),
      // @ts-expect-error through a variable
      () => Dependency.read(psp, "balance", reading),
      // @ts-expect-error an advisory read brings it to the call
      () => Dependency.read(psp, "brand", { authoritative: false, maxAge: "1 hour", classify, fallback }),
      // @ts-expect-error an advisory read is made by `read`
      () => new Dependency.AdvisoryRead(capture, { maxAge: "1 hour" }),
      // @ts-expect-error and by nothing that extends it
      () => class extends Dependency.AdvisoryRead<never> {}
    ]
    for (const way of ways.slice(0, -2)) assert.throws(way, /may not have a fallback/)
  })

  it("is not left open: whether an answer counts as true is written down, and how old it may be", () => {
    const dated = { maxAge: "1 hour", classify } as const
    // @ts-expect-error one of the two
    const open = (authoritative: boolean) => Dependency.read(psp, "brand", { ...dated, authoritative })
    // @ts-expect-error not neither
    const silent = () => Dependency.read(psp, "brand", dated)
    // @ts-expect-error an old answer has an age
    const ageless = () => Dependency.read(psp, "brand", { authoritative: false, classify })
    // @ts-expect-error a write says nothing of the kind
    const old = () => Dependency.write(psp, "capture", { ...dated, authoritative: false })
    assert.lengthOf([open, silent, ageless, old], 4)
  })

  it.effect("does not come with the call", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker
      let called = 0
      const effect = Effect.sync(() => called++)
      const disguised = {
        ...capture,
        _tag: "AdvisoryRead",
        maxAge: Duration.hours(1),
        fallbackTimeout: Duration.zero
      } as const
      const renamed = { ...brand, name: "capture" }
      const born = Object.setPrototypeOf({ ...disguised }, Dependency.AdvisoryRead.prototype) as typeof disguised
      const ways: ReadonlyArray<Effect.Effect<unknown, BreakerError>> = [
        // @ts-expect-error a write takes no third argument
        breaker.write(capture, effect, fallback),
        // @ts-expect-error nor an operation that has one
        breaker.write({ ...capture, fallback }, effect),
        // The one way that compiles: the type of this is an intersection that nothing has.
        breaker.write(Object.assign({}, capture, { fallback }), effect),
        // @ts-expect-error what may have one is no write
        breaker.write(brand, effect),
        // @ts-expect-error even with one
        breaker.write(brand, effect, fallback),
        // @ts-expect-error a write is not read
        breaker.read(capture, effect, fallback),
        // @ts-expect-error what counts as true has none
        breaker.read(balance, effect, fallback),
        // @ts-expect-error nor has it one inside
        breaker.read({ ...balance, fallback }, effect),
        // @ts-expect-error a write that calls itself an advisory read is none
        breaker.read(disguised, effect, fallback),
        // @ts-expect-error nor is one that was born as one
        breaker.read(born, effect, fallback),
        // @ts-expect-error nor is a copy
        breaker.read(renamed, effect, fallback),
        // @ts-expect-error and what may have one has one
        breaker.read(brand, effect)
      ]
      for (const [place, way] of ways.entries()) {
        const exit = yield* Effect.exit(way)
        assert(Exit.isFailure(exit) && Cause.hasDies(exit.cause), `way ${place}`)
        assert.match(String(Cause.squash(exit.cause)), /may not have a fallback|has a fallback/)
      }
      assert.strictEqual(called, 0)
    }).pipe(Effect.provide(MemoryBreakers.layerWith(defaults)))
  )

  it("is taken by what `read` made, and by nothing else", () => {
    assert.isTrue(Dependency.AdvisoryRead.is(brand))
    assert.isFalse(Dependency.AdvisoryRead.is(capture))
  })
})

describe("an operation's own timeout", () => {
  it("is positive and no longer than its dependency's, whose probes are waited for that long", () => {
    assert.deepStrictEqual(taking("1 second").timeout, Duration.seconds(1))
    for (const wrong of [Duration.zero, Duration.millis(-1), Duration.millis(1001), Duration.infinity, Number.NaN]) {
      assert.throws(() => taking(wrong), /psp\.capture must end after 0 to 1000 ms/)
    }
  })
})

const defaults = { failuresMax: 1000, window: Duration.hours(1), windowCap: Duration.hours(2), fleet: 10 }
