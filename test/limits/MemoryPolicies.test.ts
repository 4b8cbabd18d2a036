import { Layer } from "effect"

import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import * as MemoryPolicies from "../../src/layers/limits/MemoryPolicies.ts"
import { policiesSuite } from "./Policies.suite.ts"

policiesSuite("memory", MemoryPolicies.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer)))
