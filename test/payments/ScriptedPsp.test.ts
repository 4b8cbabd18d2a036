import { it } from "@effect/vitest"
import { TestClock } from "effect/testing"

import * as ScriptedPsp from "../../src/layers/payments/ScriptedPsp.ts"
import { pspSuite } from "./Psp.suite.ts"

pspSuite("scripted", { layer: ScriptedPsp.layer, test: it.effect, passTime: TestClock.adjust })
