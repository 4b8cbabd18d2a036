import { assert, describe, it } from "@effect/vitest"

import { type Accounts, complaints } from "./Reckoning.ts"

const usd = { amount: 5, currency: "USD" }
const paid = { id: "c1", tenant: "t", key: "k1", state: "succeeded", pspKey: "p1", attempts: 2, ...usd }
const refused = { id: "c2", tenant: "t", key: "k2", state: "failed", pspKey: "p2", attempts: 1, ...usd }
const event = { id: "e1", type: "charge.succeeded", charge: "c1", sequence: 1 }
const told = { tenant: "t", key: "k1", amount: 5, answers: [{ status: 201, text: "c1" }] }

const agreed: Accounts = {
  charges: [paid, refused],
  transfers: [
    { kind: "hold", charge: "c1", amount: 5 },
    { kind: "post", charge: "c1", amount: 5 },
    { kind: "void", charge: "c2", amount: 5 }
  ],
  events: [event, { id: "e2", type: "charge.failed", charge: "c2", sequence: 1 }, event],
  captures: [{ pspKey: "p1", sends: 2, ...usd }],
  told: [told, { tenant: "t", key: "k2", amount: 5, answers: [{ status: 402, text: "c2" }] }]
}

const wrongs: Readonly<Record<string, Partial<Accounts>>> = {
  "a capture that is missing": { captures: [] },
  "a capture made twice": { captures: [...agreed.captures, ...agreed.captures] },
  "a capture of other money": { captures: [{ pspKey: "p1", sends: 2, amount: 6, currency: "USD" }] },
  "a capture in another currency": { captures: [{ pspKey: "p1", sends: 2, amount: 5, currency: "EUR" }] },
  "a capture for no charge": { captures: [...agreed.captures, { pspKey: "p9", sends: 1, ...usd }] },
  "a capture of what failed": { captures: [...agreed.captures, { pspKey: "p2", sends: 1, ...usd }] },
  "a send that no attempt accounts for": { charges: [{ ...paid, attempts: 1 }, refused] },
  "a charge that is not settled": { charges: [paid, { ...refused, state: "unknown" }] },
  "a charge that is lost": { charges: [paid] },
  "a charge made twice under a key": { charges: [...agreed.charges, { ...paid, id: "c3", pspKey: "p3" }] },
  "a charge of other money than was asked": { told: [{ ...told, amount: 6 }, ...agreed.told.slice(1)] },
  "a charge nobody asked for": { told: agreed.told.slice(1) },
  "a hold that has no end": { transfers: agreed.transfers.slice(0, 2) },
  "a hold that has the wrong end": {
    transfers: [...agreed.transfers.slice(0, 2), { kind: "post", charge: "c2", amount: 5 }]
  },
  "a hold that has two ends": { transfers: [...agreed.transfers, { kind: "void", charge: "c2", amount: 5 }] },
  "an event that is missing": { events: [event] },
  "an event told twice under two ids": { events: [...agreed.events, { ...event, id: "e3" }] },
  "an event that tells another end": { events: [{ ...event, type: "charge.failed" }, ...agreed.events.slice(1, 2)] },
  "an event whose number leaves one out": { events: [{ ...event, sequence: 2 }, ...agreed.events.slice(1, 2)] },
  "an event of no charge": { events: [...agreed.events, { ...event, id: "e4", charge: "c9" }] },
  "an answer that is not true": {
    told: [{ ...told, answers: [{ status: 402, text: "c1" }] }, ...agreed.told.slice(1)]
  },
  "two answers under one key": {
    told: [{ ...told, answers: [...told.answers, { status: 201, text: "c1 " }] }, ...agreed.told.slice(1)]
  },
  "a key that was told nothing": { told: [{ ...told, answers: [] }, ...agreed.told.slice(1)] }
}

describe("The reckoning", () => {
  it("finds nothing when all accounts agree, repeats on the bus included", () => {
    assert.deepStrictEqual(complaints(agreed), [])
  })

  for (const [what, wrong] of Object.entries(wrongs)) {
    it(`finds ${what}`, () => {
      assert.isNotEmpty(complaints({ ...agreed, ...wrong }))
    })
  }
})
