/** What a verdict makes of a charge, and how the rest of the world is told. */
import type { TenantId } from "../Ids.ts"
import type { Charge } from "./Charge.ts"
import type { Verdict } from "./Charges.ts"

/** Topic of what happens to charges; the key is the charge's id. */
export const topic = "payments.v1"

export const settledBy = (charge: Charge, verdict: Verdict): Charge =>
  verdict._tag === "Captured"
    ? { ...charge, operationState: "succeeded", failure: null }
    : { ...charge, operationState: "failed", failure: { code: verdict.code, message: verdict.message } }

/** The event's JSON: the charge's statement with its tenant in front. */
export const eventOf = (tenant: TenantId, document: string): string =>
  `{"tenant":${JSON.stringify(tenant)},${document.slice(1)}`
