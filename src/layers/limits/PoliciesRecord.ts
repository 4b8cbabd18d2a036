/** What the audit log keeps of a document of policies that was put in the place of another. */
import { Schema } from "effect"

import type { AuditRecord } from "../../domain/access/AuditLog.ts"
import type { Replacement } from "../../domain/limits/Policies.ts"
import { PolicyDocument } from "../../domain/limits/PolicyDocument.ts"

const encode = Schema.encodeSync(PolicyDocument)

const told = (version: number, document: PolicyDocument): Schema.Json => ({ version, ...encode(document) })

export const policiesRecord = (before: PolicyDocument, { by, document, from, reason }: Replacement): AuditRecord => ({
  actor: by,
  why: reason,
  action: "limits.policies",
  subject: "policies",
  before: from === 0 ? null : told(from, before),
  after: told(from + 1, document)
})
