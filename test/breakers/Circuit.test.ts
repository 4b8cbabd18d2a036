import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"

import * as Circuit from "../../src/domain/breakers/Circuit.ts"

const policy: Circuit.Policy = { failuresMax: 3, windowMillis: 1000, windowCapMillis: 30_000, leaseMillis: 5000 }
const failure: Circuit.Outcome = { _tag: "Failure" }
const success: Circuit.Outcome = { _tag: "Success" }
const ignored: Circuit.Outcome = { _tag: "Ignored" }

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const millionths = between(0, 999_999)

const tripped = (at: number, chance = 0) => {
  let circuit = Circuit.initial
  for (let n = 0; n < policy.failuresMax; n++) {
    circuit = Circuit.settle(circuit, policy, circuit.generation, failure, at, chance)
  }
  return circuit
}

const probing = (now: number, from: Circuit.Circuit = tripped(0)) => {
  const verdict = Circuit.admit(from, policy, now)
  assert(verdict._tag === "Admitted")
  return verdict
}

const openedAsking = (seconds: number) => {
  const asks: Circuit.Outcome = { _tag: "Failure", retryAfter: Duration.seconds(seconds) }
  const circuit = Circuit.settle(Circuit.initial, { ...policy, failuresMax: 1 }, 0, asks, 0, 0.5)
  assert(circuit._tag === "Open")
  return circuit.windowMillis
}

describe("Circuit", () => {
  it.prop(
    "opens for a time between the window and its double, and never beyond the cap",
    {
      backoff: between(0, 60),
      millionths,
      base: between(1, 10_000),
      cap: between(1, 100_000),
      asked: between(0, 200_000)
    },
    ({ backoff, millionths, base, cap, asked }) => {
      if (cap < base) return
      const window = Circuit.openWindow(
        { ...policy, windowMillis: base, windowCapMillis: cap },
        backoff,
        asked,
        millionths / 1e6
      )
      assert.isAtLeast(window, Math.min(Math.max(base, asked), cap))
      assert.isAtMost(window, cap)
      if (asked === 0) {
        const grown = base * 2 ** backoff
        assert.isAtMost(window, 2 * grown)
        if (2 * grown <= cap) assert.isAtLeast(window, grown)
      }
    }
  )

  it.prop("spreads windows at the cap as well", { millionths }, ({ millionths }) => {
    const window = Circuit.openWindow(policy, 30, 0, millionths / 1e6)
    assert.strictEqual(window, Math.floor(15_000 + (millionths / 1e6) * 15_000))
  })

  it.prop(
    "lets one probe run in a half-open period, for any number of callers",
    { callers: between(1, 100), at: between(1000, 5999) },
    ({ callers, at }) => {
      let circuit = tripped(0)
      let admitted = 0
      for (let n = 0; n < callers; n++) {
        const verdict = Circuit.admit(circuit, policy, at)
        if (verdict._tag === "Admitted") {
          admitted++
          circuit = verdict.circuit
        }
      }
      assert.strictEqual(admitted, 1)
    }
  )

  const event = Schema.Struct({
    kind: Schema.Literals(["call", "settle", "wait"]),
    outcome: Schema.Literals(["Success", "Failure", "Ignored"]),
    which: between(0, 9),
    pause: between(0, 8000),
    millionths
  })

  it.prop(
    "keeps every promise along any history of calls, answers and pauses",
    { history: Schema.Array(event).check(Schema.isMaxLength(80)) },
    ({ history }) => {
      let circuit: Circuit.Circuit = Circuit.initial
      let now = 0
      const running: Array<number> = []
      for (const { kind, outcome, which, pause, millionths } of history) {
        const before = circuit
        if (kind === "wait") now += pause
        else if (kind === "call") {
          const verdict = Circuit.admit(circuit, policy, now)
          if (verdict._tag === "Refused") {
            assert.isAbove(verdict.retryAfterMillis, 0)
            if (circuit._tag === "Open") {
              const back = now + verdict.retryAfterMillis
              assert.strictEqual(Circuit.admit(circuit, policy, back)._tag, "Admitted")
              assert.strictEqual(Circuit.admit(circuit, policy, back - 1)._tag, "Refused")
            }
            continue
          }
          circuit = verdict.circuit
          running.push(verdict.generation)
        } else if (running.length > 0) {
          const [generation = -1] = running.splice(which % running.length, 1)
          circuit = Circuit.settle(circuit, policy, generation, { _tag: outcome }, now, millionths / 1e6)
          if (generation !== before.generation) assert.strictEqual(circuit, before)
        }
        const edge = `${before._tag} ${circuit._tag}`
        const legal = ["Closed Open", "Open HalfOpen", "HalfOpen Open", "HalfOpen Closed"]
        if (before._tag !== circuit._tag) {
          assert.include(legal, edge)
          assert.strictEqual(circuit.generation, before.generation + 1)
        }
        if (circuit._tag === "Open" && before._tag !== "Open") {
          assert.isAtLeast(circuit.windowMillis, policy.windowMillis)
          assert.isAtMost(circuit.windowMillis, policy.windowCapMillis)
        }
      }
    }
  )

  it("counts failures in a row only", () => {
    let circuit = Circuit.initial
    for (const outcome of [failure, failure, success, failure, failure, ignored]) {
      circuit = Circuit.settle(circuit, policy, 0, outcome, 0, 0)
      assert.strictEqual(circuit._tag, "Closed")
    }
    assert.strictEqual(Circuit.settle(circuit, policy, 0, failure, 0, 0)._tag, "Open")
  })

  it("grows with each failed probe and starts over only after a close that lasted", () => {
    let circuit = tripped(0)
    let now = 0
    const windows: Array<number> = []
    for (let n = 0; n < 3; n++) {
      assert(circuit._tag === "Open")
      windows.push(circuit.windowMillis)
      now = circuit.until
      const probe = probing(now, circuit)
      circuit = Circuit.settle(probe.circuit, policy, probe.generation, failure, now, 0)
    }
    assert.deepStrictEqual(windows, [1000, 2000, 4000])
    assert(circuit._tag === "Open")
    now = circuit.until
    const probe = probing(now, circuit)
    const closed = Circuit.settle(probe.circuit, policy, probe.generation, success, now, 0)
    const again = (at: number) => {
      let next = closed
      for (let n = 0; n < 3; n++) next = Circuit.settle(next, policy, closed.generation, failure, at, 0)
      assert(next._tag === "Open")
      return next.windowMillis
    }
    assert.strictEqual(again(now + 7999), 15_000)
    assert.strictEqual(again(now + 8000), 1000)
  })

  it("gives up a probe that never settles when its lease ends, and ignores it from then on", () => {
    const first = probing(1000)
    assert.strictEqual(Circuit.admit(first.circuit, policy, 5999)._tag, "Refused")
    const second = probing(6000, first.circuit)
    assert.strictEqual(Circuit.settle(second.circuit, policy, first.generation, success, 6001, 0), second.circuit)
    assert.strictEqual(Circuit.settle(second.circuit, policy, second.generation, success, 6001, 0)._tag, "Closed")
  })

  it("frees the slot of a probe that showed nothing", () => {
    const first = probing(1000)
    const freed = Circuit.settle(first.circuit, policy, first.generation, ignored, 1001, 0)
    assert.strictEqual(freed._tag, "HalfOpen")
    probing(1001, freed)
  })

  it("stays away for as long as the dependency asks, up to the cap", () => {
    assert.strictEqual(openedAsking(8), 12_000)
    assert.strictEqual(openedAsking(3600), 30_000)
  })

  it("names what contradicts itself in a policy", () => {
    assert.isUndefined(Circuit.contradiction(policy))
    assert.include(Circuit.contradiction({ ...policy, windowCapMillis: 999 }) ?? "", "below the first")
    assert.include(Circuit.contradiction({ ...policy, windowMillis: -1 }) ?? "", "must be positive")
    assert.include(Circuit.contradiction({ ...policy, failuresMax: 0 }) ?? "", "at least 1")
    assert.include(Circuit.contradiction({ ...policy, leaseMillis: 0 }) ?? "", "lease")
  })
})
