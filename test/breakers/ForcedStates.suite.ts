import { assert, layer } from "@effect/vitest"
import { DateTime, Duration, Effect } from "effect"
import type { Layer } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { forcedMax, ForcedStates, type Order } from "../../src/domain/breakers/ForcedStates.ts"
import { PassTime } from "./PassTime.ts"

let count = 0
const freshName = () => `dependency-${count++}`

/** An order by somebody, to end `lasting` from now. */
export const order = (over: Partial<Omit<Order, "until">> = {}, lasting: Duration.Input = "10 minutes") =>
  Effect.map(DateTime.now, (now): Order => ({
    dependency: freshName(),
    to: "open",
    reason: 'the provider asked, ticket "42"',
    by: "0123456789abcdef",
    ...over,
    until: DateTime.addDuration(now, Duration.fromInputUnsafe(lasting))
  }))

const activeOf = Effect.fnUntraced(function* (dependency: string) {
  return (yield* (yield* ForcedStates).active).find((one) => one.dependency === dependency)
})

const entriesOf = Effect.fnUntraced(function* (dependency: string) {
  return (yield* (yield* AuditLog).list({ limit: 100 })).filter(({ subject }) => subject === dependency)
})

/** What every `ForcedStates` promises. */
export const forcedStatesSuite = <E>(
  name: string,
  adapter: Layer.Layer<ForcedStates | AuditLog | PassTime, E>,
  clock: { readonly excludeTestServices: boolean }
) =>
  layer(adapter, { ...clock, timeout: "60 seconds" })(`ForcedStates (${name})`, (it) => {
    it.effect("an order holds until it ends, and then no longer", () =>
      Effect.gen(function* () {
        const asked = yield* order({ to: "closed" })
        const forced = yield* (yield* ForcedStates).force(asked)
        assert.deepOwnInclude(forced, asked)
        const active = yield* activeOf(asked.dependency)
        assert.deepOwnInclude(active ?? {}, asked)
        assert.isBelow(Duration.toMillis(active?.left ?? Duration.zero), 600_001)
        assert.isAbove(Duration.toMillis(active?.left ?? Duration.zero), 540_000)
        const pass = yield* PassTime
        yield* pass("5 minutes")
        assert.isAtMost(Duration.toMillis((yield* activeOf(asked.dependency))?.left ?? Duration.infinity), 300_000)
        yield* pass("5 minutes")
        assert.isUndefined(yield* activeOf(asked.dependency))
      })
    )

    it.effect("a new order takes the place of the one before, and an order of one dependency is none of another", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const other = yield* order()
        yield* states.force(other)
        const first = yield* order()
        const second = yield* order({ dependency: first.dependency, to: "closed", by: "cli:ada" }, "1 hour")
        yield* states.force(first)
        yield* states.force(second)
        const held = (yield* states.active).filter(({ dependency }) => dependency === first.dependency)
        assert.lengthOf(held, 1)
        assert.deepOwnInclude(held[0] ?? {}, second)
        assert.deepOwnInclude((yield* activeOf(other.dependency)) ?? {}, other)
      })
    )

    it.effect("lifting ends an order at once, and where none holds it changes nothing and leaves no entry", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const asked = yield* order()
        const lift = { dependency: asked.dependency, reason: "it is back", by: "cli:ada" }
        assert.isUndefined(yield* states.lift(lift))
        assert.lengthOf(yield* entriesOf(asked.dependency), 0)
        yield* states.force(asked)
        assert.deepOwnInclude((yield* states.lift(lift)) ?? {}, asked)
        assert.isUndefined(yield* activeOf(asked.dependency))
        assert.isUndefined(yield* states.lift(lift))
        yield* states.force({ ...asked, until: (yield* order()).until })
        yield* (yield* PassTime)("1 hour")
        assert.isUndefined(yield* states.lift(lift))
        assert.lengthOf(yield* entriesOf(asked.dependency), 3)
      })
    )

    it.effect("the audit log says who ordered what, why, and what held before", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const asked = yield* order()
        yield* states.force(asked)
        yield* states.lift({ dependency: asked.dependency, reason: "it is back", by: "cli:ada" })
        const told = { state: "open", until: DateTime.formatIso(asked.until), by: asked.by, reason: asked.reason }
        const [lifted, forced] = yield* entriesOf(asked.dependency)
        assert.deepOwnInclude(forced ?? {}, {
          actor: asked.by,
          why: asked.reason,
          action: "breakers.force",
          before: null,
          after: told
        })
        assert.deepOwnInclude(lifted ?? {}, {
          actor: "cli:ada",
          why: "it is back",
          action: "breakers.lift",
          before: told,
          after: null
        })
      })
    )

    it.effect("an order ends after now and within a day, or is refused and leaves no entry", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const dependency = freshName()
        for (const lasting of [Duration.zero, Duration.minutes(-1), Duration.sum(forcedMax, Duration.minutes(1))]) {
          const asked = yield* order({ dependency }, Duration.max(Duration.zero, lasting))
          const until = DateTime.addDuration(yield* DateTime.now, lasting)
          const refused = yield* Effect.flip(states.force({ ...asked, until }))
          assert.strictEqual(refused._tag, "UntilOutOfBounds")
        }
        assert.isUndefined(yield* activeOf(dependency))
        assert.lengthOf(yield* entriesOf(dependency), 0)
        yield* states.force(yield* order({ dependency }, Duration.subtract(forcedMax, Duration.seconds(5))))
        assert.isDefined(yield* activeOf(dependency))
      })
    )

    it.effect("of many orders at once one holds, and each entry begins where another ended", () =>
      Effect.gen(function* () {
        const states = yield* ForcedStates
        const dependency = freshName()
        const orders = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => order({ dependency, reason: `reason ${n}` }))
        yield* Effect.forEach(orders, states.force, { concurrency: "unbounded" })
        const entries = (yield* entriesOf(dependency)).toReversed()
        assert.deepStrictEqual(
          entries.map(({ before }) => before),
          [null, ...entries.slice(0, -1).map(({ after }) => after)]
        )
        const reason = (yield* activeOf(dependency))?.reason
        assert.strictEqual(entries.at(-1)?.why, reason)
      })
    )
  })
