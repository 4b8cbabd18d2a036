import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"

import { spokenIn } from "../../src/domain/api/Culprit.ts"
import { problemOf } from "../../src/domain/api/Failure.ts"
import {
  BreakerError,
  BulkheadFull,
  CallTimedOut,
  CircuitOpen,
  DeadlineTooShort
} from "../../src/domain/breakers/Breaker.ts"
import { LedgerUnavailable } from "../../src/domain/payments/Ledger.ts"
import { ask, server } from "./Trial.ts"

const path = ["books", "ledger"] as const

const spoken = (reason: BreakerError["reason"]) =>
  new BreakerError({ dependency: "ledger", operation: "balance", path, reason })

const open = (millis: number) => spoken(new CircuitOpen({ state: "open", retryAfter: Duration.millis(millis) }))

/** As a store wraps what its client says, so many times over. */
const wrapped = (error: Error, times: number): Error =>
  times === 0
    ? error
    : wrapped(
        times % 2 === 0
          ? new LedgerUnavailable({ cause: error })
          : new SqlError({ reason: new ConnectionError({ cause: error, message: "no", operation: "execute" }) }),
        times - 1
      )

describe("A culprit", () => {
  it.prop(
    "is found wherever it stands in a chain of causes, and is not where there is none",
    { depth: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 })) },
    ({ depth }) => {
      const error = open(1)
      assert.strictEqual(spokenIn(wrapped(error, depth)), error)
      assert.isUndefined(spokenIn(wrapped(new Error("elsewhere"), depth)))
    }
  )

  it("that refused is told with the time to come back, also from inside of another failure", () => {
    for (const failure of [open(1200.2), new LedgerUnavailable({ cause: wrapped(open(1200.2), 3) })]) {
      assert.deepInclude(problemOf(failure), {
        _tag: "dependency-unavailable",
        status: 503,
        dependency: "ledger",
        path,
        retry_after_ms: 1201
      })
    }
    const full = problemOf(spoken(new BulkheadFull({ inFlightMax: 3 })))
    assert.deepInclude(full, { _tag: "dependency-unavailable", retry_after_ms: 1000 })
  })

  it("keeps what is said of the key", () => {
    const said = { safe_new_key: false, retryable: true } as const
    assert.deepInclude(problemOf(new LedgerUnavailable({ cause: open(1) })), said)
    assert.deepInclude(problemOf(new LedgerUnavailable({ cause: "silence" })), { _tag: "unavailable", ...said })
  })

  it("that would have taken too long is told with both numbers, none of them flattered", () => {
    const needs = Duration.millis(999.5)
    assert.deepInclude(problemOf(spoken(new DeadlineTooShort({ needs, left: Duration.millis(20.9) }))), {
      _tag: "deadline-too-short",
      needs_ms: 1000,
      left_ms: 20
    })
  })

  it("that did not answer may have done what it was asked", () => {
    const late = problemOf(spoken(new CallTimedOut({ timeout: Duration.seconds(1) })))
    assert.deepInclude(late, { _tag: "dependency-timeout", status: 504, dependency: "ledger", path })
    assert.match(String(late.detail), /may have been done/)
  })

  it.live("is named to the client: who, and the way there", () =>
    Effect.gen(function* () {
      const culprit = { dependency: "ledger", path }
      const hurried = yield* ask("/through/hurried")
      assert.deepInclude(hurried.body, { type: "/problems/deadline-too-short", needs_ms: 1000, path: ["books"] })
      assert.isAtMost(Number(hurried.body["left_ms"]), 20)
      const hanging = yield* ask("/through/hanging")
      assert.strictEqual(hanging.status, 504)
      assert.deepInclude(hanging.body, { type: "/problems/dependency-timeout", ...culprit })
      // Its own failure, that says nothing of who is behind it.
      for (let count = 1; count < 5; count++) {
        const failing = yield* ask("/through/failing")
        assert.deepInclude(failing.body, { type: "/problems/unavailable", ...culprit })
        assert.notInclude(failing.text, "hunter2")
      }
      for (const how of ["failing", "wrapped", "hanging"]) {
        const refused = yield* ask(`/through/${how}`)
        assert.strictEqual(refused.status, 503)
        assert.deepInclude(refused.body, { type: "/problems/dependency-unavailable", ...culprit })
        const wait = Number(refused.body["retry_after_ms"])
        assert.isAbove(wait, 20_000)
        assert.strictEqual(refused.headers.get("retry-after"), String(Math.ceil(wait / 1000)))
      }
    }).pipe(Effect.provide(server()))
  )
})
