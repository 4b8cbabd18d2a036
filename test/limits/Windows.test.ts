import { assert, describe, it } from "@effect/vitest"
import { Exit } from "effect"

import type { Ask } from "../../src/domain/limits/Limiter.ts"
import { Windows } from "../../src/layers/limits/Windows.ts"
import { policy } from "./Model.ts"

const short = policy("short", 4, 1000)
const long = policy("long", 4, 100_000)
const stamped = policy("stamped", 1000, 1000)
const ask = (of: typeof short, key: string, cost = 1): Ask => ({ keys: [{ policy: of, key: [key] }], cost })
const bounded = (keysMax: number, stampsMax = 1_000_000) => new Windows("memory", { keysMax, stampsMax })
const room = (windows: Windows, asked: Ask, now: number) =>
  Exit.match(windows.peek(asked, now), { onFailure: () => 0, onSuccess: ({ quotas }) => quotas[0]?.remaining })

describe("Windows", () => {
  it("drops idle keys first, and none in use, however long ago that was charged", () => {
    const windows = bounded(4)
    windows.take(ask(long, "in use"), 0)
    windows.take(ask(short, "idle"), 10)
    windows.take(ask(short, "idle too"), 11)
    const three = ["a", "b", "c"].map((key) => ask(long, key).keys[0])
    windows.take({ keys: [...ask(long, "a").keys, ...three], cost: 1 }, 5000)
    assert.strictEqual(windows.keys, 4)
    for (const key of ["in use", "a", "b", "c"]) assert.strictEqual(room(windows, ask(long, key), 5002), 3)
  })

  it("drops the key nearest to idle when all are in use", () => {
    const windows = bounded(2)
    windows.take(ask(long, "first"), 0)
    windows.take(ask(long, "second"), 1)
    windows.take(ask(long, "first"), 2)
    windows.take(ask(long, "third"), 3)
    assert.strictEqual(room(windows, ask(long, "second"), 4), 4)
    assert.strictEqual(room(windows, ask(long, "first"), 4), 2)
  })

  it("remembers no key that was only refused or looked at", () => {
    const windows = bounded(10)
    windows.take(ask(short, "full", 4), 0)
    const both: Ask = { keys: [...ask(short, "full").keys, ...ask(short, "fresh").keys], cost: 1 }
    assert.isTrue(Exit.isFailure(windows.take(both, 1)))
    windows.peek(ask(short, "seen"), 2)
    assert.strictEqual(windows.keys, 1)
  })

  it("forgets idle keys by itself while others are charged", () => {
    const windows = bounded(1_000_000)
    for (let key = 0; key < 10_000; key++) windows.take(ask(short, `${key}`), key * 10)
    assert.isAtMost(windows.keys, 101)
    assert.isAtMost(windows.stamps, 101 * 8)
  })

  it("charges every key of an ask although some of them were idle and due to be forgotten", () => {
    const windows = bounded(10)
    const pair: Ask = { keys: [...ask(short, "a").keys, ...ask(short, "b").keys], cost: 1 }
    windows.take(ask(short, "b"), 0)
    windows.take(ask(short, "a"), 1)
    windows.take(pair, 5000)
    assert.strictEqual(room(windows, ask(short, "a"), 5001), 3)
    assert.strictEqual(room(windows, ask(short, "b"), 5001), 3)
  })

  it("holds no more stamps than it may", () => {
    const windows = bounded(1000, 4096)
    for (let turn = 0; turn < 40; turn++) {
      windows.take(ask(stamped, `${turn}`, 700), turn)
      assert.isAtMost(windows.stamps, 4096)
    }
    assert.strictEqual(room(windows, ask(stamped, "39"), 40), 300)
  })
})
