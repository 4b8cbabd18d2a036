import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, DateTime, Deferred, Duration, Effect, Exit, Fiber, Option, Random, Stream } from "effect"
import type { Layer } from "effect"
import { TestClock } from "effect/testing"

import {
  Breaker,
  BreakerError,
  CircuitOpen,
  DeadlineTooShort,
  FailedThrough
} from "../../src/domain/breakers/Breaker.ts"
import type { Known } from "../../src/domain/breakers/Breaker.ts"
import { Breakers } from "../../src/domain/breakers/Breakers.ts"
import type { Outcome } from "../../src/domain/breakers/Circuit.ts"
import * as Dependency from "../../src/domain/breakers/Dependency.ts"
import * as Deadline from "../../src/domain/Deadline.ts"

const policy = {
  timeout: Duration.seconds(9),
  trips: [{ _tag: "Consecutive", failures: 2 }],
  window: Duration.seconds(1),
  windowCap: Duration.seconds(30),
  probeSlack: Duration.seconds(1),
  ramp: "none"
} as const

const named = (name: string, seconds = 9) =>
  Dependency.make(name, "http", { ...policy, timeout: Duration.seconds(seconds) })
const psp = named("psp")

const byExit = (exit: Exit.Exit<unknown, unknown>): Outcome =>
  Exit.isSuccess(exit) ? { _tag: "Success" } : { _tag: "Failure" }

const mineIsMine: Dependency.Classify<string> = (exit) =>
  Option.contains(Exit.findErrorOption(exit), "mine") ? { _tag: "Success" } : byExit(exit)

const call = <A, E, R>(effect: Effect.Effect<A, E, R>, dependency = psp) =>
  Effect.flatMap(Breaker, (breaker) =>
    breaker.write(Dependency.write<E>(dependency, "capture", { classify: byExit }), effect)
  )

const refusedOf = <A, E>(effect: Effect.Effect<A, E | BreakerError, Breaker>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.instanceOf(error, BreakerError)
    return error
  })

/** Within a call that may take so many seconds, one that hangs, and may take so many. */
const hanging = (outer: number, inner: number) =>
  call(call(Effect.never, named(`inner-${inner}`, inner)), named(`outer-${outer}`, outer))

const trip = Effect.repeat(Effect.ignore(call(Effect.fail("down"))), { times: 1 })
const stateOf = (dependency: Dependency.Dependency) =>
  Effect.map(
    Effect.flatMap(Breaker, (breaker) => breaker.permits(dependency)),
    ({ state }) => state
  )
const state = stateOf(psp)
/** Long enough for every first window, short enough for none of the second. */
const afterWindow = TestClock.adjust("2 seconds")

const promises =
  (layer: Layer.Layer<Breaker | Breakers, Error>) =>
  <E>(title: string, body: Effect.Effect<void, E, Breaker | Breakers>) =>
    it.effect(title, () => body.pipe(Random.withSeed("breakers"), Effect.provide(layer)))

/** What every `Breaker` promises. An adapter that passes may stand in for any other. */
export const breakerSuite = (name: string, layer: Layer.Layer<Breaker | Breakers, Error>) =>
  describe(`Breaker (${name})`, () => {
    const promise = promises(layer)

    promise(
      "refuses at once, without calling, and says when to come back",
      Effect.gen(function* () {
        yield* trip
        let called = 0
        const ask = call(Effect.sync(() => called++))
        const { dependency, path, reason } = yield* refusedOf(ask)
        assert.deepStrictEqual([dependency, path], ["psp", ["psp"]])
        assert(reason._tag === "CircuitOpen")
        const wait = Duration.toMillis(reason.retryAfter)
        assert.isTrue(wait >= 1000 && wait <= 2000, `${wait} ms`)
        yield* TestClock.adjust(Duration.millis(wait - 1))
        yield* Effect.flip(ask)
        assert.strictEqual(called, 0)
        yield* TestClock.adjust("1 millis")
        yield* ask
        assert.strictEqual(called, 1)
      })
    )

    promise(
      "lets one of a hundred callers probe, and refuses the rest at once",
      Effect.gen(function* () {
        yield* trip
        yield* afterWindow
        const gate = yield* Deferred.make<void>()
        let called = 0
        const one = call(
          Effect.andThen(
            Effect.sync(() => called++),
            Deferred.await(gate)
          )
        )
        const all = yield* Effect.forEach(Array.from({ length: 100 }), () =>
          Effect.forkChild(Effect.exit(one), { startImmediately: true })
        )
        yield* Effect.yieldNow
        assert.strictEqual(called, 1)
        assert.strictEqual(all.filter((fiber) => fiber.pollUnsafe() !== undefined).length, 99)
        yield* Deferred.succeed(gate, undefined)
        const exits = yield* Effect.forEach(all, Fiber.join)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "is not moved by an answer from before it opened, good or bad",
      Effect.gen(function* () {
        const [good, bad, late] = [
          yield* Deferred.make<void, string>(),
          yield* Deferred.make<void, string>(),
          yield* Deferred.make<void, string>()
        ]
        const hanging = yield* Effect.forEach([good, bad, late], (one) =>
          Effect.forkChild(Effect.exit(call(Deferred.await(one))), { startImmediately: true })
        )
        yield* trip
        yield* afterWindow
        const probe = yield* Deferred.make<void>()
        const probing = yield* Effect.forkChild(call(Deferred.await(probe)), { startImmediately: true })
        assert.strictEqual(yield* state, "half-open")
        yield* Deferred.succeed(good, undefined)
        yield* Deferred.fail(bad, "late")
        yield* Effect.yieldNow
        assert.strictEqual(yield* state, "half-open")
        yield* Deferred.succeed(probe, undefined)
        yield* Fiber.join(probing)
        yield* Effect.ignore(call(Effect.fail("one of two")))
        yield* Deferred.fail(late, "from another age")
        yield* Effect.forEach(hanging, Fiber.await)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "counts an interrupted call as nothing and frees its slot",
      Effect.gen(function* () {
        for (let n = 0; n < 5; n++) {
          const fiber = yield* Effect.forkChild(call(Effect.never), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
        }
        assert.strictEqual(yield* state, "closed")
        yield* trip
        yield* afterWindow
        const probe = yield* Effect.forkChild(call(Effect.never), { startImmediately: true })
        yield* Effect.flip(call(Effect.void))
        yield* Fiber.interrupt(probe)
        yield* call(Effect.void)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "gives up a probe that its client never ends when its lease does",
      Effect.gen(function* () {
        const client = Dependency.make("client", "redis", { ...policy, endedBy: "client" })
        const ask = <A, E>(effect: Effect.Effect<A, E>) => call(effect, client)
        yield* Effect.repeat(Effect.ignore(ask(Effect.fail("down"))), { times: 1 })
        yield* afterWindow
        const hung = yield* Effect.forkChild(ask(Effect.never), { startImmediately: true })
        yield* TestClock.adjust("9999 millis")
        yield* Effect.flip(ask(Effect.void))
        yield* TestClock.adjust("1 millis")
        yield* ask(Effect.void)
        assert.strictEqual(yield* stateOf(client), "closed")
        yield* Fiber.interrupt(hung)
        assert.strictEqual(yield* stateOf(client), "closed")
      })
    )

    promise(
      "counts a hung call at its timeout, before it settles, and lets its caller go",
      Effect.gen(function* () {
        const late = yield* Deferred.make<void>()
        const stubborn = call(Effect.uninterruptible(Deferred.await(late)))
        const hung = yield* Effect.forEach([1, 2], () =>
          Effect.forkChild(Effect.flip(stubborn), { startImmediately: true })
        )
        yield* TestClock.adjust("8999 millis")
        assert.strictEqual(yield* state, "closed")
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* state, "open")
        for (const fiber of hung) {
          const error = yield* Fiber.join(fiber)
          assert(error instanceof BreakerError && error.reason._tag === "CallTimedOut")
          assert.strictEqual(Duration.toSeconds(error.reason.timeout), 9)
        }
        yield* Deferred.succeed(late, undefined)
        yield* Effect.yieldNow
        assert.strictEqual(yield* state, "open")

        let interrupted = false
        const willing = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
        yield* Effect.forkChild(Effect.ignore(call(willing, named("willing"))), { startImmediately: true })
        yield* TestClock.adjust("9 seconds")
        assert.isTrue(interrupted)
      })
    )

    promise(
      "opens on answers that come, and come too late to be of use",
      Effect.gen(function* () {
        const slow = Dependency.make("slow", "http", {
          ...policy,
          slowAfter: Duration.seconds(2),
          trips: [{ _tag: "CountWindow", calls: 4, callsMin: 4, slowRate: 0.5 }]
        })
        for (const [took, then] of [
          ["1999 millis", "closed"],
          ["1999 millis", "closed"],
          ["2 seconds", "closed"],
          ["2 seconds", "open"]
        ] as const) {
          const answered = yield* Effect.forkChild(call(Effect.sleep(took), slow), { startImmediately: true })
          yield* TestClock.adjust(took)
          yield* Fiber.join(answered)
          assert.strictEqual(yield* stateOf(slow), then)
        }
      })
    )

    promise(
      "refuses a call that could outlast its caller's deadline, at once and without a mark",
      Effect.gen(function* () {
        let called = 0
        const ask = call(Effect.sync(() => called++))
        const { reason } = yield* refusedOf(Deadline.within("9 seconds")(ask))
        assert.deepStrictEqual(reason, new DeadlineTooShort({ needs: Duration.seconds(9), left: Duration.seconds(9) }))
        yield* Effect.repeat(Effect.ignore(Deadline.within("1 second")(ask)), { times: 9 })
        assert.strictEqual(called, 0)
        yield* Deadline.within("9001 millis")(ask)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "has no call hide what hangs below it: what could outlast the call it is part of is refused by name",
      Effect.gen(function* () {
        const { dependency, path, reason } = yield* refusedOf(hanging(5, 5))
        assert.deepStrictEqual([dependency, path], ["inner-5", ["outer-5", "inner-5"]])
        assert.deepStrictEqual(reason, new DeadlineTooShort({ needs: Duration.seconds(5), left: Duration.seconds(5) }))
        const hung = yield* Effect.forkChild(refusedOf(hanging(5, 4)), { startImmediately: true })
        yield* TestClock.adjust("4 seconds")
        const culprit = yield* Fiber.join(hung)
        assert.deepStrictEqual([culprit.dependency, culprit.reason._tag], ["inner-4", "CallTimedOut"])
      })
    )

    promise(
      "refuses, and does not queue, what is above the calls in flight",
      Effect.gen(function* () {
        const narrow = Dependency.make("narrow", "http", { ...policy, inFlightMax: 2 })
        const running = yield* Effect.forEach([1, 2], () =>
          Effect.forkChild(call(Effect.never, narrow), { startImmediately: true })
        )
        const { reason } = yield* refusedOf(call(Effect.void, narrow))
        assert.strictEqual(reason._tag, "BulkheadFull")
        yield* Effect.forEach(running, Fiber.interrupt)
        yield* call(Effect.void, narrow)
      })
    )

    promise(
      "names the culprit and the way to it, and opens for nobody on the way",
      Effect.gen(function* () {
        const inner = call(Effect.fail("down"), named("c", 7))
        const nested = call(call(inner, named("b", 8)), named("a"))
        const through = yield* Effect.flip(Effect.sandbox(nested))
        assert.deepStrictEqual(Context.getOrUndefined(Cause.annotations(through), FailedThrough), ["a", "b", "c"])
        yield* Effect.ignore(nested)
        for (let n = 0; n < 5; n++) {
          const { dependency, path } = yield* refusedOf(nested)
          assert.deepStrictEqual([dependency, ...path], ["c", "a", "b", "c"])
        }
        const seen = yield* Effect.flatMap(Breakers, ({ snapshots }) => snapshots)
        assert.deepStrictEqual(
          seen.map(({ dependency, state }) => `${dependency} ${state}`),
          ["c open", "a closed", "b closed"]
        )
      })
    )

    promise(
      "leaves what went wrong on the span of whoever called",
      Effect.gen(function* () {
        const said: Array<string> = []
        const span = yield* Effect.makeSpan("route")
        const spoken = (event: string, _: bigint, { dependency, path }: Record<string, unknown> = {}) =>
          void said.push(`${event} ${String(path ?? dependency)}`)
        const noting = Object.assign(Object.create(span) as typeof span, { event: spoken })
        const outer = call(call(Effect.fail("down"), named("inner", 8)), named("outer"))
        yield* Effect.repeat(Effect.ignore(outer), { times: 2 }).pipe(Effect.withParentSpan(noting))
        assert.deepStrictEqual(said, [
          "breaker.failed inner",
          "breaker.failed outer > inner",
          "breaker.failed inner",
          "breaker.open inner",
          "breaker.failed outer > inner",
          "breaker.refused inner"
        ])
      })
    )

    const told = { authoritative: false, maxAge: "1 hour", classify: mineIsMine } as const
    const advisory = Dependency.read(psp, "brand", told)
    const asking = (effect: Effect.Effect<string, string>, age: Duration.Input = "5 minutes") =>
      Effect.flatMap(Breaker, (breaker) =>
        breaker.read(advisory, effect, Effect.succeed({ value: "visa", age: Duration.fromInputUnsafe(age) }))
      )

    promise(
      "answers an advisory read with what was known, marked and dated, when the dependency does not answer",
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* asking(Effect.succeed("amex")), { _tag: "Fresh", value: "amex" })
        const stale = { _tag: "Stale", value: "visa", age: Duration.minutes(5), maxAge: Duration.hours(1) } as const
        assert.deepStrictEqual(yield* asking(Effect.fail("down")), stale)
        yield* trip
        assert.deepStrictEqual(yield* asking(Effect.succeed("amex")), stale)
        assert.instanceOf(yield* Effect.flip(asking(Effect.succeed("amex"), "61 minutes")), BreakerError)
      })
    )

    promise(
      "tells the first error when the fallback has nothing, and never covers the caller's own mistake",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const nothing = breaker.read(advisory, Effect.fail("down"), Effect.fail("nothing known"))
        assert.strictEqual(yield* Effect.flip(nothing), "down")
        const slow = yield* Effect.forkChild(Effect.flip(breaker.read(advisory, Effect.fail("down"), Effect.never)))
        yield* TestClock.adjust("250 millis")
        assert.strictEqual(yield* Fiber.join(slow), "down")
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(yield* Effect.flip(asking(Effect.fail("mine"))), "mine")
      })
    )

    promise(
      "lets a reader in a hurry have what was known, and the call come to its own end",
      Effect.gen(function* () {
        const hurried = Dependency.read(psp, "brand", { ...told, patience: "1 second" })
        const gate = yield* Deferred.make<string, string>()
        const ask = (fallback: Effect.Effect<Known<string>, string>) =>
          Effect.flatMap(Breaker, (breaker) => breaker.read(hurried, Deferred.await(gate), fallback))
        const age = Duration.minutes(5)
        const reading = yield* Effect.forkChild(ask(Effect.succeed({ value: "visa", age })), { startImmediately: true })
        const waiting = yield* Effect.forkChild(ask(Effect.fail("nothing")), { startImmediately: true })
        yield* TestClock.adjust("999 millis")
        assert.isUndefined(reading.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(reading))._tag, "Stale")
        const inFlight = Effect.map(
          Effect.flatMap(Breakers, ({ snapshots }) => snapshots),
          ([one]) => one?.inFlight
        )
        assert.strictEqual(yield* inFlight, 2)
        yield* Deferred.succeed(gate, "amex")
        assert.deepStrictEqual(yield* Fiber.join(waiting), { _tag: "Fresh", value: "amex" })
        assert.deepStrictEqual([yield* inFlight, yield* state], [0, "closed"])
      })
    )

    promise(
      "does not run a write that brings a fallback past the types",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        let called = 0
        const known = Effect.succeed({ value: 1, age: Duration.zero })
        const effect = Effect.sync(() => called++)
        const write = Dependency.write<never>(psp, "capture", { classify: byExit })
        const ledger = Dependency.read<never>(psp, "balance", { authoritative: true, classify: byExit })
        const smuggled = { ...write, fallback: known }
        const tries: ReadonlyArray<Effect.Effect<unknown, BreakerError>> = [
          // @ts-expect-error a write takes no fallback
          breaker.write(write, effect, known),
          // @ts-expect-error nor does a read whose answer counts as true
          breaker.read(ledger, effect, known),
          // @ts-expect-error nor does one that comes through a variable
          breaker.write(smuggled, effect)
        ]
        for (const tried of tries) {
          assert.isTrue(Exit.hasDies(yield* Effect.exit(tried)))
        }
        const options = { classify: byExit, fallback: known }
        // @ts-expect-error nor is one declared
        assert.throws(() => Dependency.write<never>(psp, "capture", options), /may not have a fallback/)
        const reading = { ...options, authoritative: true } as const
        // @ts-expect-error in either way
        assert.throws(() => Dependency.read<never>(psp, "balance", reading), /may not have a fallback/)
        assert.strictEqual(called, 0)
      })
    )

    promise(
      "obeys an operator from the next call on, until the order ends or is taken back",
      Effect.gen(function* () {
        const breakers = yield* Breakers
        const until = DateTime.add(yield* DateTime.now, { minutes: 1 })
        yield* breakers.force("psp", { to: "open", until })
        const { reason } = yield* refusedOf(call(Effect.void))
        assert.deepStrictEqual(reason, new CircuitOpen({ state: "forced-open", retryAfter: Duration.minutes(1) }))
        yield* breakers.force("psp", undefined)
        yield* call(Effect.void)
        yield* breakers.force("psp", { to: "open", until: yield* DateTime.now })
        assert.strictEqual(yield* state, "closed")
        yield* breakers.force("psp", { to: "closed", until })
        yield* trip
        yield* trip
        assert.strictEqual(yield* state, "forced-closed")
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "opens on a fifth of the evidence where it opened elsewhere, and never by the word alone",
      Effect.gen(function* () {
        const breakers = yield* Breakers
        const patient = Dependency.make("patient", "http", {
          ...policy,
          trips: [{ _tag: "Consecutive", failures: 10 }]
        })
        const fail = Effect.ignore(call(Effect.fail("down"), patient))
        yield* breakers.declare(patient)
        yield* breakers.hint("patient", Duration.seconds(10))
        yield* call(Effect.void, patient)
        yield* fail
        assert.strictEqual(yield* stateOf(patient), "closed")
        yield* fail
        assert.strictEqual(yield* stateOf(patient), "open")
      })
    )

    promise(
      "tells of each step once, in order",
      Effect.gen(function* () {
        const { changes } = yield* Breakers
        const told = yield* Effect.forkChild(Stream.runCollect(Stream.take(changes, 3)), { startImmediately: true })
        yield* Effect.yieldNow
        yield* trip
        yield* afterWindow
        yield* call(Effect.void)
        assert.deepStrictEqual(
          (yield* Fiber.join(told)).map(({ from, to, why }) => `${from} to ${to}: ${why}`),
          [
            "closed to open: 2 failures in a row",
            "open to half-open: the time has come",
            "half-open to closed: the probe succeeded"
          ]
        )
      })
    )

    promise(
      "waits longer after each failed probe",
      Effect.gen(function* () {
        yield* trip
        for (const base of [1000, 2000, 4000, 8000, 15_000, 15_000]) {
          const { retryAfter } = yield* Effect.flatMap(Breaker, (breaker) => breaker.permits(psp))
          const wait = Duration.toMillis(retryAfter)
          assert.isTrue(wait >= base && wait <= 2 * base, `${wait} ms of ${base}`)
          yield* TestClock.adjust(retryAfter)
          assert.strictEqual(yield* Effect.flip(call(Effect.fail("still down"))), "still down")
        }
      })
    )

    promise(
      "tells whether a call would run without spending the probe",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const asked = breaker.permits(psp)
        assert.deepStrictEqual(yield* asked, { state: "closed", admits: true, retryAfter: Duration.zero })
        yield* trip
        assert.isFalse((yield* asked).admits)
        yield* afterWindow
        for (let n = 0; n < 3; n++) assert.isTrue((yield* asked).admits)
        yield* call(Effect.void)
      })
    )

    promise(
      "lets the classifier decide, defects included, and survives one that throws",
      Effect.gen(function* () {
        const breaker = yield* Breaker
        const healthy = Dependency.write<string>(psp, "capture", { classify: () => ({ _tag: "Success" }) })
        const fine = breaker.write(healthy, Effect.fail("my own mistake"))
        for (let n = 0; n < 5; n++) yield* Effect.flip(fine)
        assert.strictEqual(yield* state, "closed")
        yield* Effect.exit(call(Effect.die("bug")))
        yield* Effect.exit(call(Effect.die("bug")))
        assert.strictEqual(yield* state, "open")
        yield* afterWindow
        const throwing = Dependency.write<never>(psp, "capture", {
          classify: () => {
            throw new Error("classifier")
          }
        })
        const broken = breaker.write(throwing, Effect.void)
        assert.isTrue(Exit.hasDies(yield* Effect.exit(broken)))
        yield* call(Effect.void)
        assert.strictEqual(yield* state, "closed")
      })
    )

    promise(
      "opens for the dependency that fails and for no other",
      Effect.gen(function* () {
        yield* trip
        yield* Effect.flip(call(Effect.void))
        yield* call(Effect.void, { ...psp, name: "redis" })
      })
    )

    promise(
      "forgets what it saw of a dependency, and remembers an order about it",
      Effect.gen(function* () {
        const breakers = yield* Breakers
        yield* trip
        yield* breakers.forget("psp")
        assert.deepStrictEqual(yield* breakers.snapshots, [])
        assert.strictEqual(yield* call(Effect.succeed("ran")), "ran")
        const until = DateTime.add(yield* DateTime.now, { minutes: 1 })
        yield* breakers.force("psp", { to: "open", until })
        yield* breakers.forget("psp")
        const { reason } = yield* refusedOf(call(Effect.succeed("ran")))
        assert(reason._tag === "CircuitOpen")
        assert.strictEqual(reason.state, "forced-open")
      })
    )
  })
