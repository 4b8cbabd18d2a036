import { Layer } from "effect"

import * as MemoryBreakerReports from "../../src/layers/breakers/MemoryBreakerReports.ts"
import { breakerReportsSuite } from "./BreakerReports.suite.ts"
import { onTestClock } from "./PassTime.ts"

breakerReportsSuite("memory", Layer.merge(MemoryBreakerReports.layer, onTestClock), { excludeTestServices: false })
