import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import type { StagedEvent } from "../../src/domain/events/Envelope.ts"
import type { Claim } from "../../src/domain/events/EventOutbox.ts"
import { cut, publishedOf, sendingOf } from "../../src/domain/events/Sending.ts"

const staged = (sequence: number, headers: unknown): StagedEvent => ({
  topic: "t.v1",
  key: "k",
  id: String(sequence),
  type: "happened",
  headers,
  payload: "{}",
  sequence,
  previous: sequence - 1,
  stagedAtMillis: 0
})

const Verdicts = Schema.NonEmptyArray(Schema.Literals(["fine", "unserialisable", "refused"]))

describe("Sending", () => {
  it.prop(
    "sends what precedes the first event that cannot leave, parks that one, and forgets no further than it sent",
    { verdicts: Verdicts },
    ({ verdicts: [first, ...others] }) => {
      const verdicts = [first, ...others]
      const eventAt = (verdict: typeof first, at: number) => staged(at + 5, verdict === "unserialisable" ? [] : {})
      const claim: Claim = {
        topic: "t.v1",
        key: "k",
        epoch: 1,
        events: [eventAt(first, 0), ...others.map((verdict, at) => eventAt(verdict, at + 1))]
      }
      const whole = sendingOf(claim)
      const refused = new Map(
        whole.records.flatMap((record, at) => (verdicts[at] === "refused" ? [[record, "no"] as const] : []))
      )
      const sent = cut(whole, refused)
      const poisonAt = verdicts.findIndex((verdict) => verdict !== "fine")
      const good = poisonAt === -1 ? verdicts.length : poisonAt
      assert.deepStrictEqual(
        sent.records.map(({ headers }) => headers["ce_id"]),
        claim.events.slice(0, good).map(({ id }) => id)
      )
      assert.strictEqual(sent.poison?.sequence, poisonAt === -1 ? undefined : poisonAt + 5)
      assert.strictEqual(publishedOf(sent)?.through, good === 0 ? undefined : good + 4)
    }
  )

  it("is untouched by refusals of others' records", () => {
    const sending = sendingOf({ topic: "t.v1", key: "k", epoch: 1, events: [staged(1, {})] })
    const other = sendingOf({ topic: "t.v1", key: "k", epoch: 1, events: [staged(1, {})] })
    assert.strictEqual(cut(sending, new Map(other.records.map((record) => [record, "no"]))), sending)
  })
})
