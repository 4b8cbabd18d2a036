import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option } from "effect"
import type { Layer } from "effect"
import { TestClock } from "effect/testing"

import { KnownSources } from "../../src/domain/payments/KnownSources.ts"
import { Source } from "../../src/domain/payments/Psp.ts"

const card = (last4: string) => new Source({ brand: "visa", last4, expMonth: 12, expYear: 2034 })

/** What every `KnownSources` promises. An adapter that passes may stand in for any other. */
export const knownSourcesSuite = (name: string, layer: Layer.Layer<KnownSources>) =>
  describe(`KnownSources (${name})`, () => {
    it.effect("recalls what was remembered last, and says how old it is", () =>
      Effect.gen(function* () {
        const known = yield* KnownSources
        assert.isTrue(Option.isNone(yield* known.recall("tok_1")))
        yield* known.remember("tok_1", card("0001"))
        yield* known.remember("tok_1", card("0002"))
        yield* known.remember("tok_2", card("0003"))
        yield* TestClock.adjust("90 seconds")
        const { age, value } = Option.getOrThrow(yield* known.recall("tok_1"))
        assert.deepStrictEqual(value, card("0002"))
        assert.strictEqual(Duration.toSeconds(age), 90)
      }).pipe(Effect.provide(layer))
    )

    it.effect("forgets what is gone, and nothing else", () =>
      Effect.gen(function* () {
        const known = yield* KnownSources
        yield* known.remember("tok_1", card("0001"))
        yield* known.remember("tok_2", card("0002"))
        yield* known.forget("tok_1")
        yield* known.forget("tok_never_known")
        assert.isTrue(Option.isNone(yield* known.recall("tok_1")))
        assert.isTrue(Option.isSome(yield* known.recall("tok_2")))
      }).pipe(Effect.provide(layer))
    )
  })
