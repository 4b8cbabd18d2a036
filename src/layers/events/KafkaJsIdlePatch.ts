/**
 * Quiets kafkajs 2.2.4 when it has nothing to do. Its request queue re-arms a timer with a negative delay, which
 * Node makes one millisecond, for as long as a connection lives: a twentieth of a core, and since Node 24 a
 * `TimeoutNegativeWarning` (tulios/kafkajs#1751). With nothing pending there is nothing to check: whatever is
 * pushed while the broker throttles schedules its own check. Every other version is left as it is.
 */
import { createRequire } from "node:module"

import { Effect, Predicate } from "effect"

const require = createRequire(import.meta.url)
const version = "2.2.4"

interface RequestQueue {
  readonly pending: ReadonlyArray<unknown>
  scheduleCheckPendingRequests: (this: RequestQueue) => void
}

const isQueue = (prototype: unknown): prototype is RequestQueue =>
  Predicate.hasProperty(prototype, "scheduleCheckPendingRequests") &&
  typeof prototype.scheduleCheckPendingRequests === "function"

let applied = false

/** Once a process; true when this kafkajs is patched. */
export const apply: Effect.Effect<boolean> = Effect.suspend(() => {
  if (applied) return Effect.succeed(true)
  const found: unknown = require("kafkajs/package.json")
  const queue: unknown = require("kafkajs/src/network/requestQueue")
  const prototype = Predicate.hasProperty(queue, "prototype") ? queue.prototype : undefined
  if (!Predicate.hasProperty(found, "version") || found.version !== version || !isQueue(prototype)) {
    return Effect.as(Effect.logWarning(`kafkajs is not ${version}; it is used without the patch for idle time`), false)
  }
  const original = prototype.scheduleCheckPendingRequests
  prototype.scheduleCheckPendingRequests = function () {
    if (this.pending.length > 0) original.call(this)
  }
  applied = true
  return Effect.succeed(true)
})
