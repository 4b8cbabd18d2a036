import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schema } from "effect"

import * as ChargeBatcher from "../../src/layers/payments/ChargeBatcher.ts"

const { batchMax, lanesMax } = ChargeBatcher

type Item = { readonly name: string; readonly bad?: boolean; readonly slow?: boolean }

/** A store that writes down its calls. While the gate is shut, they hang. */
const store = Effect.gen(function* () {
  const calls: Array<ReadonlyArray<string>> = []
  const alone: Array<string> = []
  const gate = yield* Deferred.make<void>()
  const asked = yield* ChargeBatcher.make<Item, string, string, string>({
    nameOf: ({ name }) => name,
    together: (items) =>
      Effect.suspend(() => {
        calls.push(items.map(({ name }) => name))
        const fails = items.some(({ bad, slow }) => bad === true || slow === true)
        return Effect.andThen(
          Deferred.await(gate),
          fails ? Effect.fail("not all") : Effect.succeed(items.map(({ name }) => Effect.succeed(`told ${name}`)))
        )
      }),
    alone: ({ bad, name, slow }) =>
      Effect.suspend(() => {
        alone.push(name)
        if (slow === true) return Effect.never
        return bad === true ? Effect.fail(`no ${name}`) : Effect.as(Deferred.await(gate), `told ${name}`)
      })
  })
  /** Fills every lane with one call, and waits until it is on its way. */
  const busy = Effect.forEach(
    Array.from({ length: lanesMax }, (_, lane) => lane),
    (lane) =>
      Effect.forkChild(asked({ name: `lane ${lane}` }), { startImmediately: true }).pipe(Effect.tap(Effect.yieldNow))
  )
  return { calls, alone, asked, busy, open: Deferred.succeed(gate, undefined) }
})

const named = (count: number, from = 0): ReadonlyArray<Item> =>
  Array.from({ length: count }, (_, place) => ({ name: `item ${place + from}` }))

describe("ChargeBatcher", () => {
  it.effect("who finds a lane free leaves at once", () =>
    Effect.gen(function* () {
      const { alone, asked, calls, open } = yield* store
      yield* open
      assert.strictEqual(yield* asked({ name: "one" }), "told one")
      assert.deepStrictEqual([alone, calls], [[], [["one"]]])
    })
  )

  it.effect("those who come while the lanes are busy travel together, as many as fit", () =>
    Effect.gen(function* () {
      const { asked, busy, calls, open } = yield* store
      yield* busy
      assert.lengthOf(calls, lanesMax)
      const told = yield* Effect.forkChild(Effect.forEach(named(batchMax + 5), asked, { concurrency: "unbounded" }), {
        startImmediately: true
      })
      yield* open
      assert.deepStrictEqual(
        yield* Fiber.join(told),
        named(batchMax + 5).map(({ name }) => `told ${name}`)
      )
      assert.deepStrictEqual(
        calls.slice(lanesMax).map((call) => call.length),
        [batchMax, 5]
      )
    })
  )

  it.effect("one that is bad and one that hangs cost their neighbours one more call, and the lanes nothing", () =>
    Effect.gen(function* () {
      const { alone, asked, busy, calls, open } = yield* store
      yield* busy
      const items: ReadonlyArray<Item> = [{ name: "bad", bad: true }, { name: "slow", slow: true }, ...named(3)]
      const fibers = yield* Effect.forEach(items, (item) => Effect.forkChild(asked(item), { startImmediately: true }))
      yield* open
      const exits = yield* Effect.forEach(
        fibers.filter((_, place) => place !== 1),
        Fiber.await
      )
      assert.deepStrictEqual(exits, [Exit.fail("no bad"), ...named(3).map(({ name }) => Exit.succeed(`told ${name}`))])
      assert.lengthOf(calls, lanesMax + 1)
      assert.deepStrictEqual(alone, ["bad", "slow", "item 0", "item 1", "item 2"])
      // More hang than there are lanes, and the next is served all the same.
      yield* Effect.forEach(Array.from({ length: lanesMax }), (_, round) =>
        Effect.gen(function* () {
          const pair = [{ name: `slow ${round}`, slow: true }, { name: `beside ${round}` }] as const
          const [, beside] = yield* Effect.forEach(pair, (item) =>
            Effect.forkChild(asked(item), { startImmediately: true })
          )
          if (beside !== undefined) assert.strictEqual(yield* Fiber.join(beside), `told beside ${round}`)
        })
      )
      assert.strictEqual(yield* asked({ name: "last" }), "told last")
    })
  )

  it.effect("two of one name never travel together", () =>
    Effect.gen(function* () {
      const { asked, busy, calls, open } = yield* store
      yield* busy
      const items = [{ name: "a" }, { name: "b" }, { name: "a" }, { name: "c" }, { name: "a" }]
      const told = yield* Effect.forkChild(Effect.forEach(items, asked, { concurrency: "unbounded" }), {
        startImmediately: true
      })
      yield* open
      assert.deepStrictEqual(
        yield* Fiber.join(told),
        items.map(({ name }) => `told ${name}`)
      )
      assert.deepStrictEqual(calls.slice(lanesMax), [["a", "b", "c"], ["a"], ["a"]])
    })
  )

  it.effect("who leaves before the call does is not in it", () =>
    Effect.gen(function* () {
      const { asked, busy, calls, open } = yield* store
      yield* busy
      const [gone, ...others] = yield* Effect.forEach(named(3), (item) =>
        Effect.forkChild(asked(item), { startImmediately: true })
      )
      if (gone !== undefined) yield* Fiber.interrupt(gone)
      yield* open
      yield* Effect.forEach(others, Fiber.join)
      assert.deepStrictEqual(calls.slice(lanesMax), [["item 1", "item 2"]])
    })
  )

  it.effect("a call that breaks, and one that answers too little, are told and free their lane", () =>
    Effect.gen(function* () {
      let calls = 0
      const asked = yield* ChargeBatcher.make<string, string, never, never>({
        nameOf: (name) => name,
        together: () => {
          calls += 1
          return Effect.andThen(Effect.yieldNow, Effect.succeed([]))
        },
        alone: (name) => Effect.andThen(Effect.yieldNow, Effect.die(name))
      })
      for (let round = 0; round < 2 * lanesMax; round++) {
        const exits = yield* Effect.forEach(["a", "b", "c", "d", "e", "f"], (name) => Effect.exit(asked(name)), {
          concurrency: "unbounded"
        })
        assert.isTrue(exits.every((exit) => Exit.hasDies(exit)))
      }
      assert.isAbove(calls, 0)
    })
  )

  it.effect.prop(
    "whoever comes when, each is told its own",
    { names: Schema.Array(Schema.Literals(["a", "b", "c", "d", "e", "f", "g", "bad a", "bad b"])) },
    ({ names }) =>
      Effect.gen(function* () {
        const { asked, open } = yield* store
        yield* open
        const exits = yield* Effect.forEach(
          names,
          (name, place) =>
            Effect.yieldNow.pipe(
              Effect.repeat({ times: place % 3 }),
              Effect.andThen(Effect.exit(asked({ name, bad: name.startsWith("bad") })))
            ),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          exits,
          names.map((name) => (name.startsWith("bad") ? Exit.fail(`no ${name}`) : Exit.succeed(`told ${name}`)))
        )
      })
  )
})
