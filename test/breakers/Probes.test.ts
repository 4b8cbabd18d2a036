/**
 * Eight probes of ours and of three peers, in real time. What the peers answer is asserted as it was measured,
 * not as we would like it: the day one of them improves, this file goes red, and so does every page of ours
 * that says it is worse. Then the newer answer is written down here and there; it is no fault of the peer.
 */
import { assert, describe, it } from "@effect/vitest"

import * as Cockatiel from "./probes/Cockatiel.ts"
import * as EffectCircuitBreaker from "./probes/EffectCircuitBreaker.ts"
import * as Opossum from "./probes/Opossum.ts"
import * as OurBreaker from "./probes/OurBreaker.ts"
import { probes } from "./probes/Probes.ts"
import { windowMillis } from "./probes/Subject.ts"
import type { Make } from "./probes/Subject.ts"

interface Contender {
  readonly name: string
  readonly make: Make
  /** What it answers, where that is not what is wanted. */
  readonly otherwise: Partial<Record<keyof typeof probes, string | number>>
}

const contenders: ReadonlyArray<Contender> = [
  { name: "ours", make: OurBreaker.make, otherwise: {} },
  {
    name: "opossum 10.0.0",
    make: Opossum.make(false),
    otherwise: {
      lateSuccess: "closed",
      lateFailures: "open",
      hungProbe: "none ran",
      cancelledProbe: "open, next call refused"
    }
  },
  {
    name: "cockatiel 4.0.0",
    make: Cockatiel.make,
    otherwise: {
      refusals: 0,
      burst: 99,
      lateFailures: "open",
      hungProbe: "none ran",
      cancelledProbe: "open, next call refused"
    }
  },
  { name: "effect 4.1.0's CircuitBreaker", make: EffectCircuitBreaker.make, otherwise: { hungProbe: "none ran" } }
]

const names = Object.keys(probes) as ReadonlyArray<keyof typeof probes>

for (const { make, name, otherwise } of contenders) {
  describe.concurrent(`${name}: ${names.length - Object.keys(otherwise).length} of ${names.length}`, () => {
    for (const probe of names) {
      const { ask, title, wanted } = probes[probe]
      const expected = otherwise[probe] ?? wanted
      it(`${expected === wanted ? "" : `(${expected}) `}${title}`, async () => {
        const subject = await make()
        try {
          assert.strictEqual(await ask(subject), expected, `${name} answers otherwise than it is said to`)
        } finally {
          await subject.close()
        }
      })
    }
  })
}

describe("opossum's own timeout, which is off above", () => {
  it("gives up a probe that never settles, as our lease does", async () => {
    const subject = Opossum.make(4 * windowMillis)()
    try {
      assert.strictEqual(await probes.hungProbe.ask(subject), probes.hungProbe.wanted)
    } finally {
      await subject.close()
    }
  })
})
