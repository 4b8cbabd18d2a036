import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"

import type { Policy, Trip } from "../../src/domain/breakers/Dependency.ts"
import * as Terms from "../../src/domain/breakers/Terms.ts"

const defaults = { failuresMax: 5, window: Duration.seconds(1), windowCap: Duration.seconds(30), fleet: 10 }
const wrong = (policy: Partial<Policy>) =>
  Terms.contradiction(Terms.resolve(defaults, { timeout: Duration.seconds(1), ...policy })) ?? "nothing"
const trips = (trip: Trip) => wrong({ trips: [trip], slowAfter: Duration.millis(500) })

describe("Terms", () => {
  it("finds nothing wrong with a timeout and the defaults", () => {
    assert.strictEqual(wrong({}), "nothing")
  })

  it("names what contradicts itself", () => {
    assert.include(wrong({ timeout: Duration.zero }), "timeout must be positive")
    assert.include(wrong({ timeout: Duration.infinity }), "positive and finite")
    assert.include(wrong({ window: Duration.millis(-5) }), "open window must be positive")
    assert.include(wrong({ windowCap: Duration.millis(999) }), "is below the first")
    assert.include(wrong({ probes: 0 }), "at least 1 probe")
    assert.include(wrong({ probeSlack: Duration.zero }), "must outlast")
    assert.include(wrong({ inFlightMax: 0.5 }), "at least 1 call")
    assert.include(wrong({ ramp: { over: Duration.zero, floor: 5 } }), "a ramp takes")
    assert.include(wrong({ ramp: { over: Duration.seconds(1), floor: 0 } }), "a ramp takes")
    assert.include(wrong({ slowAfter: Duration.seconds(1) }), "ends at its timeout")
    assert.include(wrong({ fleet: 0 }), "at least 1 process")
  })

  it("names what is wrong with a trip", () => {
    assert.include(trips({ _tag: "Consecutive", failures: 0 }), "at least 1")
    assert.include(trips({ _tag: "CountWindow", calls: 10, callsMin: 11, failureRate: 0.5 }), "fit into its window")
    assert.include(trips({ _tag: "CountWindow", calls: 1e9, callsMin: 1, failureRate: 0.5 }), "holds 1 to")
    assert.include(trips({ _tag: "CountWindow", calls: 10, callsMin: 1, failureRate: 0 }), "above 0")
    assert.include(trips({ _tag: "CountWindow", calls: 10, callsMin: 1 }), "must name a rate")
    assert.include(trips({ _tag: "TimeWindow", over: Duration.zero, callsMin: 1, slowRate: 1 }), "window of time")
    const slow: Trip = { _tag: "CountWindow", calls: 10, callsMin: 1, slowRate: 0.5 }
    assert.include(wrong({ trips: [slow] }), "after what time")
  })

  it("refuses a window too short to spread the probes of its fleet, and says what would do", () => {
    assert.strictEqual(wrong({ fleet: 50 }), "nothing")
    assert.include(wrong({ fleet: 1000 }), "spread them over 20000 ms")
    assert.include(wrong({ fleet: 100, window: Duration.seconds(20), windowCap: Duration.seconds(21) }), "2000 ms")
    assert.strictEqual(wrong({ fleet: 1, windowCap: Duration.seconds(1) }), "nothing")
  })
})
