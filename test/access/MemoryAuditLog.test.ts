import * as MemoryAuditLog from "../../src/layers/access/MemoryAuditLog.ts"
import { auditLogSuite } from "./AuditLog.suite.ts"

auditLogSuite("memory", MemoryAuditLog.layer)
