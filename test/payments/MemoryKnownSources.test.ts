import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"

import { KnownSources } from "../../src/domain/payments/KnownSources.ts"
import { Source } from "../../src/domain/payments/Psp.ts"
import * as MemoryKnownSources from "../../src/layers/payments/MemoryKnownSources.ts"
import { knownSourcesSuite } from "./KnownSources.suite.ts"

knownSourcesSuite("memory", MemoryKnownSources.layer)

describe("MemoryKnownSources", () => {
  it.effect("forgets the one that was remembered longest ago", () =>
    Effect.gen(function* () {
      const known = yield* KnownSources
      const card = new Source({ brand: "visa", last4: "0001", expMonth: 12, expYear: 2034 })
      for (const token of ["a", "b", "a", "c"]) yield* known.remember(token, card)
      const recalled = yield* Effect.forEach(["a", "b", "c"], known.recall)
      assert.deepStrictEqual(recalled.map(Option.isSome), [true, false, true])
    }).pipe(Effect.provide(MemoryKnownSources.layerWith(2)))
  )
})
