/** Your own app, one layer of ours: a handler that five calls in ten seconds may reach, and the sixth may not. */
import { Policy, PolicyName } from "cribwork/domain/limits/Policy"
import { Limiter } from "cribwork/limits"
import * as MemoryLimiter from "cribwork/limits/MemoryLimiter"
import { Console, Duration, Effect } from "effect"

const perUser = new Policy({ name: PolicyName.make("search"), scope: "user", limit: 5, window: Duration.seconds(10) })

const search = (user: string, words: string) =>
  Limiter.use((limiter) => limiter.take({ keys: [{ policy: perUser, key: ["acme", user] }], cost: 1 })).pipe(
    Effect.map(({ quotas }) => `200 results for ${words}, ${quotas[0]?.remaining} searches left`),
    Effect.catchReason("LimiterError", "RateLimited", ({ retryAfter }) =>
      Effect.succeed(`429 come back in ${Math.ceil(Duration.toSeconds(retryAfter))} s`)
    )
  )

const program = Effect.forEach([1, 2, 3, 4, 5, 6], () => Effect.flatMap(search("ada", "engines"), Console.log))

await Effect.runPromise(Effect.provide(program, MemoryLimiter.layer))
