import { createRequire } from "node:module"

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import * as KafkaJsIdlePatch from "../../src/layers/events/KafkaJsIdlePatch.ts"

const require = createRequire(import.meta.url)

interface Queue {
  readonly throttleCheckTimeoutId: unknown
  readonly checkPendingRequests: () => void
  readonly push: (request: unknown) => void
  readonly fulfillRequest: (response: { correlationId: number; payload: null; size: number }) => void
  readonly destroy: () => void
}

const queueOf = () => {
  const RequestQueue = require("kafkajs/src/network/requestQueue") as new (options: object) => Queue
  return new RequestQueue({ maxInFlightRequests: 1, requestTimeout: 1000, logger: { debug: () => {} } })
}

const request = (correlationId: number, sent: Array<number>, answered: Array<number>) => ({
  entry: { correlationId, resolve: () => answered.push(correlationId), reject: () => {} },
  expectResponse: true,
  sendRequest: () => sent.push(correlationId)
})

describe("KafkaJsIdlePatch", () => {
  it.effect("an idle queue arms no timer, and a waiting request is still sent when its turn comes", () =>
    Effect.gen(function* () {
      assert.isTrue(yield* KafkaJsIdlePatch.apply)
      assert.isTrue(yield* KafkaJsIdlePatch.apply)
      const queue = queueOf()
      queue.checkPendingRequests()
      assert.isNull(queue.throttleCheckTimeoutId)
      const sent: Array<number> = []
      const answered: Array<number> = []
      queue.push(request(1, sent, answered))
      assert.isNull(queue.throttleCheckTimeoutId)
      queue.push(request(2, sent, answered))
      assert.isNotNull(queue.throttleCheckTimeoutId)
      assert.deepStrictEqual(sent, [1])
      queue.fulfillRequest({ correlationId: 1, payload: null, size: 0 })
      assert.deepStrictEqual([sent, answered], [[1, 2], [1]])
      queue.destroy()
    })
  )
})
