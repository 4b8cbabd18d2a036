import * as fs from "node:fs"

import { assert, describe, it } from "@effect/vitest"

const compose = fs.readFileSync(new URL("../../compose.yaml", import.meta.url), "utf8")

describe("compose.yaml", () => {
  it("publishes on loopback alone, and just the ports that its comment exports", () => {
    const exported = [...compose.matchAll(/^# +export [A-Z_]+=.*127\.0\.0\.1:(\d+)/gm)].map((match) => match[1])
    const published = [...compose.matchAll(/^ +ports: \["127\.0\.0\.1:(\d+):\d+"\]$/gm)].map((match) => match[1])
    assert.strictEqual(exported.length, 3)
    assert.deepStrictEqual(published, exported)
    assert.strictEqual([...compose.matchAll(/ports:/g)].length, published.length)
  })
})
