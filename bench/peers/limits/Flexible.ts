/** rate-limiter-flexible: a fixed window that begins with a key's first hit; one call a key. */
import { Redis } from "ioredis"
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible"

import { granted, keyOf, together } from "./Contender.ts"
import type { Open, Verdict } from "./Contender.ts"

const refused = (error: unknown): Verdict => {
  if (error instanceof RateLimiterRes) return { allowed: false, waitMillis: error.msBeforeNext }
  throw error
}

export const open: Open = async (port) => {
  const client = new Redis(port)
  client.on("error", () => {})
  return {
    decide: async (limits, windowMillis) => {
      const limiters = limits.map(
        (points, place) =>
          new RateLimiterRedis({
            storeClient: client,
            points,
            duration: windowMillis / 1000,
            keyPrefix: `flexible-${windowMillis}-${points}-${place}`
          })
      )
      return {
        promise: async (segments) =>
          together(
            await Promise.all(
              limiters.map((limiter, place) => limiter.consume(keyOf(segments, place)).then(() => granted, refused))
            )
          )
      }
    },
    close: async () => client.disconnect()
  }
}
