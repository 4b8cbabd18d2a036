/** A process of its own that takes from one key and says how often it was let: `Taker.ts <url> <key> <limit> <times>`. */
import { Duration, Effect, Exit, Redacted } from "effect"

import { instance } from "./Crowd.ts"
import { policy } from "./Model.ts"

const [, , url = "", key = "", limit = "0", times = "0"] = process.argv

const program = Effect.gen(function* () {
  const limiter = yield* instance(Redacted.make(url), { deadline: Duration.seconds(10) })
  const ask = { keys: [{ policy: policy("processes", Number(limit), 3_600_000_000), key: [key] }], cost: 1 } as const
  const answers = yield* Effect.all(
    Array.from({ length: Number(times) }, () => Effect.exit(limiter.take(ask))),
    { concurrency: "unbounded" }
  )
  process.stdout.write(`${answers.filter(Exit.isSuccess).length}`)
})

await Effect.runPromise(Effect.scoped(program))
