/** rate-limit-redis, the store of express-rate-limit: a fixed window from the first hit; one call a key. */
import { Redis } from "ioredis"
import { RedisStore } from "rate-limit-redis"
import type { RedisReply } from "rate-limit-redis"

import { granted, keyOf, together } from "./Contender.ts"
import type { Open } from "./Contender.ts"

export const open: Open = async (port) => {
  const client = new Redis(port)
  client.on("error", () => {})
  return {
    decide: async (limits, windowMillis) => {
      const stores = limits.map(
        (_, place) =>
          new RedisStore({
            prefix: `express-${windowMillis}-${limits.join("-")}-${place}:`,
            sendCommand: (command: string, ...args: ReadonlyArray<string>) =>
              client.call(command, ...args) as Promise<RedisReply>
          })
      )
      // The store reads nothing else of the middleware's options.
      for (const store of stores) await store.init({ windowMs: windowMillis } as Parameters<RedisStore["init"]>[0])
      return {
        promise: async (segments) =>
          together(
            await Promise.all(
              stores.map(async (store, place) => {
                const { resetTime, totalHits } = await store.increment(keyOf(segments, place))
                if (totalHits <= (limits[place] as number)) return granted
                return { allowed: false, waitMillis: Math.max(0, (resetTime?.getTime() ?? 0) - Date.now()) }
              })
            )
          )
      }
    },
    close: async () => client.disconnect()
  }
}
