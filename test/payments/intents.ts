/** Intents to charge, as tests make them: every one under a key of its own unless told otherwise. */
import { Context, type Duration, Effect, Option } from "effect"
import { uuidV4Unsafe } from "effect/crypto/SecureRandom"

import { TenantId } from "../../src/domain/Ids.ts"
import { Currency, MinorUnits } from "../../src/domain/Money.ts"
import type { ChargeRequest } from "../../src/domain/payments/Charge.ts"
import { Charges, type Intent } from "../../src/domain/payments/Charges.ts"
import { fingerprint } from "../../src/domain/payments/Fingerprint.ts"
import { IdempotencyKey } from "../../src/domain/payments/IdempotencyKey.ts"
import { type Lease, Outbox } from "../../src/domain/payments/Outbox.ts"

let count = 0
export const freshTenant = () => TenantId.make(`tenant-${process.pid}-${count++}`)
export const freshKey = () => IdempotencyKey.make(uuidV4Unsafe())

export const request = (over: Partial<ChargeRequest> = {}): ChargeRequest => ({
  amount: MinorUnits.make(1050),
  currency: Currency.make("USD"),
  source: "tok_visa",
  description: null,
  orderId: null,
  ...over
})

export const intent = (over: Partial<Intent> & { readonly ask?: Partial<ChargeRequest> } = {}): Intent => {
  const asked = over.request ?? request(over.ask)
  return {
    tenant: over.tenant ?? freshTenant(),
    key: over.key ?? freshKey(),
    request: asked,
    fingerprint: over.fingerprint ?? fingerprint("POST", "/v1/charges", "1", { ...asked }),
    traceparent: over.traceparent ?? Option.none()
  }
}

/** Lets time pass for the stored rows: an adapter on a real clock moves them into the past instead. */
export class PassTime extends Context.Service<PassTime, (duration: Duration.Input) => Effect.Effect<void>>()(
  "cribwork/test/payments/intents/PassTime"
) {}

export const accepted = Effect.fnUntraced(function* (asked: Intent) {
  const acceptance = yield* (yield* Charges).accept(asked)
  return acceptance._tag === "Accepted" ? acceptance.charge : yield* Effect.die(acceptance)
})

/** The lease of this tenant's one due command; claims and leaves alone what other tests have due. */
export const claimed = Effect.fnUntraced(function* (tenant: TenantId) {
  const leases = yield* (yield* Outbox).claim("test", 1000)
  const lease = leases.find((found) => found.tenant === tenant)
  return lease === undefined ? yield* Effect.die(`nothing is due for ${tenant}`) : lease
})

export const captured = (lease: Lease) => ({
  lease,
  verdict: { _tag: "Captured" as const, ref: `pay_${lease.pspKey}` }
})
export const declined = (lease: Lease) => ({
  lease,
  verdict: { _tag: "Declined" as const, code: "card_declined", message: "The card was declined.", ref: null }
})
