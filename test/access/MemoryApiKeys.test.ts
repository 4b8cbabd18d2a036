import { Layer } from "effect"

import * as MemoryApiKeys from "../../src/layers/access/MemoryApiKeys.ts"
import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import { apiKeysSuite } from "./ApiKeys.suite.ts"

apiKeysSuite("memory", MemoryApiKeys.layer.pipe(Layer.provideMerge(MemoryAuditLog.layer)))
