import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"

import { sizeOf, type StagedEvent, toRecord } from "../../src/domain/events/Envelope.ts"

const staged: StagedEvent = {
  topic: "payments.v1",
  key: "ch_1",
  id: "8e03978e-40d5-43e8-bc93-6894a57f9324",
  type: "charge.succeeded",
  headers: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
  payload: `{"amount":1}`,
  sequence: 2,
  previous: 1,
  stagedAtMillis: 1_000
}

const text = (sequence: number) => Result.getOrThrow(toRecord({ ...staged, sequence })).headers["ce_sequence"] ?? ""

describe("Envelope", () => {
  it("writes CloudEvents in binary mode, and what it knows itself nobody overrides", () => {
    const record = Result.getOrThrow(
      toRecord({ ...staged, headers: { ...Object(staged.headers), ce_id: "x", ce_subject: "s" } })
    )
    assert.deepStrictEqual(record.headers, {
      ce_source: "/payments",
      ce_subject: "s",
      "content-type": "application/json",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      ce_specversion: "1.0",
      ce_id: "8e03978e-40d5-43e8-bc93-6894a57f9324",
      ce_type: "charge.succeeded",
      ce_time: "1970-01-01T00:00:01.000Z",
      ce_sequence: "0000000000000000002",
      ce_prevsequence: "0000000000000000001"
    })
    assert.deepStrictEqual([record.topic, record.key, record.partition], ["payments.v1", "ch_1", undefined])
    assert.strictEqual(new TextDecoder().decode(record.value), `{"amount":1}`)
  })

  it.each([[null], [1], ["text"], [{ a: 1 }], [{ a: null }], [{ a: { b: "c" } }]])(
    "refuses headers that are not texts: %j",
    (headers) => {
      assert.isTrue(Result.isFailure(toRecord({ ...staged, headers })))
    }
  )

  it.prop(
    "sequences are ordered as texts as they are as numbers",
    { one: Schema.Int.check(Schema.isGreaterThan(0)), other: Schema.Int.check(Schema.isGreaterThan(0)) },
    ({ one, other }) => {
      assert.strictEqual(text(one) < text(other), one < other)
    }
  )

  it.prop(
    "a record is never larger on the wire than its size says",
    { key: Schema.String, payload: Schema.String },
    ({ key, payload }) => {
      const record = Result.getOrThrow(toRecord({ ...staged, key, payload }))
      const texts = [key, ...Object.entries(record.headers).flat()]
      const least = record.value.length + texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
      assert.isAtLeast(sizeOf(record), least + 9 + 2 * Object.keys(record.headers).length)
    }
  )
})
