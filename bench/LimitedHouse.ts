/** The house behind its quotas in Redis: so many requests a second are offered, three keys each, whatever is answered. */
import type { Measured, Slice } from "./load.ts"
import type { Given } from "./peers/Ground.ts"
import { startRedis } from "./RedisProcess.ts"
import { generate, heard, start, stop } from "./Rounds.ts"

const offers = [1000, 5000, 10_000] as const
const connections = 200
const warmMillis = 3000
const millis = 10_000
/** One request in a hundred is of a key that has five in ten seconds. */
const every = 100
const small = { limit: 5, windowMillis: 10_000 }

/** All of a window is taken at its begin, since many more are asked for; so many windows begin. */
const admitted = small.limit * Math.ceil((warmMillis + millis) / small.windowMillis)

const row = (offered: number, { cpu, p50, p99, refusable, refused, requests, seconds }: Measured): string => {
  const cores = (group: string) => ((cpu[group] ?? 0) / 1e6 / seconds).toFixed(2)
  const exact = refusable - refused === admitted ? "exact" : `${refusable - refused} admitted instead of ${admitted}`
  return `| ${offered} | ${Math.round(requests / seconds)} | ${p50.toFixed(1)} | ${p99.toFixed(1)} | ${cores("house")} | ${cores("redis")} | ${refused} of ${refusable}, ${exact} |`
}

export const houseTable = async (profile: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  const lines = [
    "| HTTP requests/s offered, three keys each | answered | p50 ms | p99 ms | cores, house | cores, Redis | refused of those that may be |",
    "|---|--:|--:|--:|--:|--:|--:|"
  ]
  for (const perSecond of offers) {
    const redis = await startRedis()
    const house = start("./house.ts", { BENCH_REDIS: `redis://127.0.0.1:${redis.port}` }, profile)
    const generator = start("./load.ts", {})
    try {
      const { given, port } = await heard<{ readonly port: number; readonly given: Given }>(house)
      const tokens = given.keys.filter(({ plan }) => plan === "generous").map(({ token }) => token)
      const refusable = given.keys.find(({ plan }) => plan === "small")?.token ?? ""
      const measured = await generate(generator, {
        port,
        connections,
        tokens,
        kind: "get",
        path: `/v1/charges/${given.charge?.id}`,
        paced: { perSecond, every, refusable },
        warmMillis,
        millis,
        watched: { house: { pid: house.pid ?? 0, family: false }, redis: { pid: redis.pid, family: false } }
      } satisfies Slice)
      lines.push(row(perSecond, measured))
    } catch (error) {
      // A house that is overrun drops requests, and the generator ends with the first that it does.
      lines.push(`| ${perSecond} | ended early: ${String(error).split("\n", 1)[0]} | | | | | |`)
    } finally {
      await Promise.all([house, generator].map(stop))
      await redis.stop()
    }
  }
  return lines
}
