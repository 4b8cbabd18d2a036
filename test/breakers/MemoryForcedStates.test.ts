import { Layer } from "effect"

import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import * as MemoryForcedStates from "../../src/layers/breakers/MemoryForcedStates.ts"
import { forcedStatesSuite } from "./ForcedStates.suite.ts"
import { onTestClock } from "./PassTime.ts"

const memory = MemoryForcedStates.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer), Layer.merge(onTestClock))

forcedStatesSuite("memory", memory, { excludeTestServices: false })
