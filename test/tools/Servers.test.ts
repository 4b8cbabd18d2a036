/** What the URLs of the live suites lead to is fit to use. */
import { assert, it } from "@effect/vitest"
import { Redis } from "ioredis"

import { describeLive } from "../support/Live.ts"

describeLive("servers (redis)", ["redis"], ({ redis }) => {
  it("keeps what it is given", async () => {
    const client = new Redis(redis, { lazyConnect: true, maxRetriesPerRequest: 0 })
    try {
      const key = `cribwork:servers:${process.pid}`
      await client.set(key, "kept", "EX", 60)
      assert.strictEqual(await client.getdel(key), "kept")
    } finally {
      client.disconnect()
    }
  })
})
