import { it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"

import * as ScriptedPsp from "../../src/layers/payments/ScriptedPsp.ts"
import { pspSuite } from "./Psp.suite.ts"

pspSuite("scripted", {
  promise: (title, body) => it.effect(title, () => Effect.provide(body, ScriptedPsp.layer)),
  passTime: TestClock.adjust
})
