import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"

import * as Circuit from "../../src/domain/breakers/Circuit.ts"
import * as OpenWindow from "../../src/domain/breakers/OpenWindow.ts"

const policy: Circuit.Policy = {
  rules: [{ _tag: "Consecutive", failures: 3 }],
  windowMillis: 1000,
  windowCapMillis: 30_000,
  leaseMillis: 5000,
  probes: 1,
  ramp: undefined
}
const failure: Circuit.Outcome = { _tag: "Failure" }
const success: Circuit.Outcome = { _tag: "Success" }
const ignored: Circuit.Outcome = { _tag: "Ignored" }

const often = <A>(value: A, times: number): ReadonlyArray<A> => Array.from({ length: times }, () => value)
const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const millionths = between(0, 999_999)

/** Draws with a chance of one's own; `asked` as `held` does. */
const drawing =
  (chance: number, of = policy): Circuit.Draw =>
  (backoff, asked) =>
    OpenWindow.held(OpenWindow.jittered(OpenWindow.grown(of, backoff), of, chance), asked, of, chance)

const settle = (
  circuit: Circuit.Circuit,
  generation: number,
  outcome: Circuit.Outcome,
  now: number,
  { chance = 0, of = policy, slow = false } = {}
) => Circuit.settle(circuit, of, { generation, outcome, slow }, now, drawing(chance, of)).circuit

const tripped = (at: number, chance = 0, of = policy) => {
  let circuit: Circuit.Circuit = Circuit.initial(of)
  for (let n = 0; n < 3; n++) circuit = settle(circuit, circuit.generation, failure, at, { chance, of })
  return circuit
}

const probing = (now: number, from: Circuit.Circuit = tripped(0), of = policy) => {
  const verdict = Circuit.admit(from, of, now)
  assert(verdict._tag === "Admitted")
  return verdict
}

const failedProbe = (from: Circuit.Circuit, at: number) => {
  const probe = probing(at, from)
  return settle(probe.circuit, probe.generation, failure, at)
}

const openedAsking = (seconds: number) => {
  const asks: Circuit.Outcome = { _tag: "Failure", retryAfter: Duration.seconds(seconds) }
  const of: Circuit.Policy = { ...policy, rules: [{ _tag: "Consecutive", failures: 1 }] }
  const circuit = settle(Circuit.initial(of), 0, asks, 0, { chance: 0.5, of })
  assert(circuit._tag === "Open")
  return circuit.windowMillis
}

describe("Circuit", () => {
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
    kind: Schema.Literals([...often("call", 9), ...often("settle", 9), ...often("wait", 4), "order"]),
    outcome: Schema.Literals(["Success", "Success", "Failure", "Failure", "Failure", "Ignored"]),
    /** Mostly the newest call, so that probes come to an end. */
    which: Schema.Literals([0, 0, 0, 0, 1, 2, 5]),
    pause: between(0, 6000),
    millionths
  })
  const withRamp: Circuit.Policy = { ...policy, probes: 2, ramp: { overMillis: 20_000, floor: 50 } }
  const byRate: Circuit.Policy = {
    ...withRamp,
    rules: [{ _tag: "TimeWindow", overMillis: 5000, callsMin: 4, failureRate: 0.5, slowRate: 2 }],
    probes: 1
  }
  const legal = new Set([
    "Closed Open",
    "Open HalfOpen",
    "HalfOpen Open",
    "HalfOpen Closed",
    "HalfOpen Ramping",
    "Ramping Open",
    "Ramping Closed",
    ...["Closed", "Open", "HalfOpen", "Ramping"].map((from) => `${from} Forced`),
    // Its time is over: what was forced open is open, and the next caller its probe.
    "Forced Open",
    "Forced HalfOpen",
    "Forced Closed"
  ])

  it.prop(
    "keeps every promise along any history of calls, answers, pauses and orders",
    {
      of: Schema.Literals([0, 1, 2]),
      history: Schema.Array(event).check(Schema.isMinLength(100), Schema.isMaxLength(150))
    },
    ({ history, of: chosen }) => {
      const of = [policy, withRamp, byRate][chosen] ?? policy
      let circuit: Circuit.Circuit = Circuit.initial(of)
      let now = 0
      const running: Array<number> = []
      let probe = { generation: -1, startedAt: 0 }

      const call = () => {
        const verdict = Circuit.admit(circuit, of, now)
        if (verdict._tag === "Admitted") {
          if (verdict.circuit._tag === "HalfOpen") {
            const isWaitedFor = running.includes(probe.generation) && now < probe.startedAt + of.leaseMillis
            assert.isFalse(isWaitedFor && circuit._tag === "HalfOpen", "two probes at once")
            probe = { generation: verdict.generation, startedAt: now }
          }
          running.push(verdict.generation)
        } else {
          assert.isAbove(verdict.retryAfterMillis, 0)
          const back = now + verdict.retryAfterMillis
          if (circuit._tag === "Open") {
            assert.strictEqual(Circuit.admit(circuit, of, back)._tag, "Admitted")
            assert.strictEqual(Circuit.admit(circuit, of, back - 1)._tag, "Refused")
          }
        }
        return verdict.circuit
      }
      const answered = (which: number, outcome: Circuit.Outcome, chance: number) => {
        const newest = running.length - 1
        const [generation = -1] = running.splice(Math.max(0, newest - which), 1)
        const after = settle(circuit, generation, outcome, now, { chance, of })
        if (generation !== circuit.generation) assert.strictEqual(after, circuit)
        return after
      }
      const ordered = (which: number, lasting: number) => {
        if (which % 3 > 0) return Circuit.force(circuit, which % 3 === 1 ? "open" : "closed", now, now + lasting)
        return circuit._tag === "Forced" ? Circuit.released(circuit, of, now) : circuit
      }

      for (const { kind, outcome, which, pause, millionths } of history) {
        const before: Circuit.Circuit = circuit
        const expected = Circuit.backoffAt(before, now) + (Circuit.backoffAt(before, now) < before.backoff ? 0 : 1)
        if (kind === "wait") now += pause
        else if (kind === "call") circuit = call()
        else if (kind === "settle") circuit = answered(which, { _tag: outcome }, millionths / 1e6)
        else circuit = ordered(which, pause)

        if (before._tag === circuit._tag) continue
        assert.isTrue(legal.has(`${before._tag} ${circuit._tag}`), `${before._tag} ${circuit._tag}`)
        assert.isAbove(circuit.generation, before.generation)
        if (circuit._tag === "Closed" && before._tag === "HalfOpen") assert.isUndefined(of.ramp)
        if (circuit._tag !== "Open" || before._tag === "Forced") continue
        assert.include(before._tag === "Closed" ? [0, expected] : [expected], circuit.backoff)
        const low = OpenWindow.grown(of, circuit.backoff)
        assert.isAtLeast(circuit.windowMillis, low)
        assert.isAtMost(circuit.windowMillis, Math.min(2 * low, of.windowCapMillis))
      }
    },
    { arbitrary: { runs: 300 } }
  )

  it("counts failures in a row only", () => {
    let circuit: Circuit.Circuit = Circuit.initial(policy)
    for (const outcome of [failure, failure, success, failure, failure, ignored]) {
      circuit = settle(circuit, 0, outcome, 0)
      assert.strictEqual(circuit._tag, "Closed")
    }
    assert.strictEqual(settle(circuit, 0, failure, 0)._tag, "Open")
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
      circuit = settle(probe.circuit, probe.generation, failure, now)
    }
    assert.deepStrictEqual(windows, [1000, 2000, 4000])
    assert(circuit._tag === "Open")
    now = circuit.until
    const probe = probing(now, circuit)
    const again = (at: number) => {
      let next = settle(probe.circuit, probe.generation, success, now)
      for (let n = 0; n < 3; n++) next = settle(next, next.generation, failure, at)
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
    assert.strictEqual(settle(second.circuit, first.generation, success, 6001), second.circuit)
    assert.strictEqual(settle(second.circuit, second.generation, success, 6001)._tag, "Closed")
  })

  it("frees the slot of a probe that showed nothing", () => {
    const first = probing(1000)
    const freed = settle(first.circuit, first.generation, ignored, 1001)
    assert.strictEqual(freed._tag, "HalfOpen")
    probing(1001, freed)
  })

  it("stays away for as long as the dependency asks, up to the cap", () => {
    assert.strictEqual(openedAsking(8), 12_000)
    assert.strictEqual(openedAsking(3600), 30_000)
  })

  it("closes after as many probes in a row as it needs, and a hung one starts the row anew", () => {
    const of = { ...policy, probes: 2 }
    const first = probing(1000, tripped(0, 0, of), of)
    const half = settle(first.circuit, first.generation, success, 1001, { of })
    assert.strictEqual(half._tag, "HalfOpen")
    const hung = probing(1002, half, of)
    const third = probing(6002, hung.circuit, of)
    const again = settle(third.circuit, third.generation, success, 6003, { of })
    assert.strictEqual(again._tag, "HalfOpen")
    const fourth = probing(6004, again, of)
    assert.strictEqual(settle(fourth.circuit, fourth.generation, success, 6005, { of })._tag, "Closed")
  })

  it("takes up its backoff where it was when an operator had forced it open", () => {
    const twice = failedProbe(failedProbe(tripped(0), 1000), 5000)
    const forced = Circuit.force(twice, "open", 5000, 90_000)
    const again = failedProbe(forced, 90_000)
    assert(again._tag === "Open")
    assert.strictEqual(again.backoff, twice.backoff + 1)
    const calm = Circuit.force({ ...Circuit.initial(policy), backoff: 5 }, "open", 0, 1000)
    assert.strictEqual(calm.backoff, 0)
  })

  const ramping = { ...policy, ramp: { overMillis: 7000, floor: 1 } }
  const back = () => {
    const probe = probing(1000, tripped(0, 0, ramping), ramping)
    const circuit = settle(probe.circuit, probe.generation, success, 1000, { of: ramping })
    assert(circuit._tag === "Ramping")
    return circuit
  }

  it("lets calls back little by little, the floor at once, and all of them when the ramp is over", () => {
    let circuit: Circuit.Circuit = back()
    const perSecond: Array<number> = []
    for (let second = 0; second < 8; second++) {
      let admitted = 0
      for (let n = 0; n < 1000; n++) {
        const verdict = Circuit.admit(circuit, ramping, 1000 + second * 1000 + n)
        circuit = verdict.circuit
        if (verdict._tag === "Admitted") admitted++
      }
      perSecond.push(admitted)
    }
    assert.deepStrictEqual(perSecond, [11, 21, 41, 81, 161, 321, 641, 1000])
    assert.strictEqual(circuit._tag, "Closed")
  })

  it("opens again, for longer, when the calls that come back fail", () => {
    let circuit: Circuit.Circuit = back()
    for (let n = 0; n < 3; n++) circuit = settle(circuit, circuit.generation, failure, 1500, { of: ramping })
    assert(circuit._tag === "Open")
    assert.strictEqual(circuit.windowMillis, 2000)
  })

  it("obeys an operator whatever calls show, and until the order ends", () => {
    const forced = Circuit.force(Circuit.initial(policy), "open", 0, 5000)
    assert.deepStrictEqual(Circuit.admit(forced, policy, 4000), {
      _tag: "Refused",
      retryAfterMillis: 1000,
      circuit: forced
    })
    const probe = probing(5000, forced)
    assert.strictEqual(probe.circuit._tag, "HalfOpen")
    const shut = Circuit.force(tripped(0), "closed", 0, 5000)
    for (let n = 0; n < 9; n++) assert.strictEqual(settle(shut, shut.generation, failure, 10), shut)
    assert.strictEqual(Circuit.admit(shut, policy, 4999)._tag, "Admitted")
    assert.strictEqual(Circuit.at(shut, policy, 5000)._tag, "Closed")
  })
})
