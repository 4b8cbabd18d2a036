/** One contender in a process of its own: what a call costs it, in CPU microseconds, whenever it is asked. */
import { contenders } from "./Contenders.ts"
import type { Name } from "./Contenders.ts"

export interface Asked {
  readonly path: "closed" | "open"
  readonly warm: boolean
}

/** Of CPU, a slice. */
const sliceMicros = 120_000
const batch = 2000

const contender = await contenders[process.env["BENCH_CONTENDER"] as Name]()

const measure = async ({ path, warm }: Asked): Promise<number> => {
  const run = contender[path]
  if (warm) for (let n = 0; n < 10; n++) await run(batch)
  globalThis.gc?.()
  const since = process.cpuUsage()
  let calls = 0
  for (;;) {
    await run(batch)
    calls += batch
    const { system, user } = process.cpuUsage(since)
    if (user + system >= sliceMicros) return (user + system) / calls
  }
}

process.on("message", (asked: Asked) => {
  measure(asked).then(
    (micros) => process.send?.({ micros }),
    (error: unknown) => process.send?.({ failed: String(error) })
  )
})
process.on("disconnect", () => process.exit(0))
process.send?.({ ready: true })
