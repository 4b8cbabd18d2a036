/**
 * \@upstash/ratelimit: two counters by the calendar, weighted, and a cache of refused keys; one call a key. It
 * speaks to Upstash over HTTP; here its scripts run on the same Redis as all others, through ioredis. The flag in
 * their first line is Upstash's own and refused by Redis, so that line is left out.
 */
import { hash } from "node:crypto"

import { Ratelimit } from "@upstash/ratelimit"
import { Redis } from "ioredis"

import { granted, keyOf, together } from "./Contender.ts"
import type { Open } from "./Contender.ts"

type Theirs = ConstructorParameters<typeof Ratelimit>[0]["redis"]

/** The two commands that a sliding window sends. */
const clientOf = (client: Redis): Theirs => {
  const shas = new Map<string, string>()
  return {
    evalsha: (sha: string, keys: Array<string>, args: Array<string>) =>
      client.evalsha(shas.get(sha) ?? sha, keys.length, ...keys, ...args),
    eval: (script: string, keys: Array<string>, args: Array<string>) => {
      const stripped = script.replace(/^#!.*\n/, "")
      shas.set(hash("sha1", script), hash("sha1", stripped))
      return client.eval(stripped, keys.length, ...keys, ...args)
    }
  } as Partial<Theirs> as Theirs
}

export const open: Open = async (port) => {
  const client = new Redis(port)
  client.on("error", () => {})
  const redis = clientOf(client)
  return {
    decide: async (limits, windowMillis) => {
      const limiters = limits.map(
        (limit, place) =>
          new Ratelimit({
            redis,
            limiter: Ratelimit.slidingWindow(limit, `${windowMillis} ms`),
            prefix: `upstash-${windowMillis}-${limit}-${place}`
          })
      )
      return {
        promise: async (segments) =>
          together(
            await Promise.all(
              limiters.map(async (limiter, place) => {
                const { reset, success } = await limiter.limit(keyOf(segments, place))
                return success ? granted : { allowed: false, waitMillis: Math.max(0, reset - Date.now()) }
              })
            )
          )
      }
    },
    close: async () => client.disconnect()
  }
}
