/** One library's fleet in a process of its own, since it stops the clock: the herd of its first probes, and how a server comes back. */
import { fleets, pass, startTime, threshold } from "./Clients.ts"
import type { Client, Name } from "./Clients.ts"
import { Server } from "./Server.ts"

/** First probes in the worst 100 ms, and the recovery of a server under load. */
export interface Found {
  readonly herd: number
  readonly falls: number
  /** Undefined when it is not back at the end. */
  readonly recoveryMillis: number | undefined
}

const name = process.env["BENCH_CONTENDER"] as Name
const tickMillis = 10

/** 1,000 clients of a dependency that is dead for good, each with a call every 50 ms, until it has probed. */
const herd = async (): Promise<number> => {
  const clients = await fleets[name]({ size: 1000, windowMillis: 30_000, windowCapMillis: 60_000 })
  const every = 50
  const probes: Array<number> = []
  const waiting = new Set<Client>(clients)
  for (const client of clients)
    for (let n = 0; n < threshold; n++) await client(() => Promise.reject(new Error("dead")))
  // Nobody's window ends before, but of one whose growth starts below it.
  const calm = name === "cockatiel, ExponentialBackoff" ? 0 : 23_000
  await pass(calm)
  for (let now = calm; waiting.size > 0 && now < 120_000; now += every) {
    await pass(every)
    for (const client of waiting) {
      void client(() => {
        probes.push(now)
        waiting.delete(client)
        return Promise.reject(new Error("dead"))
      })
    }
  }
  await pass(every)
  return Math.max(...probes.map((from) => probes.filter((one) => one >= from && one < from + 100).length))
}

/** 20 clients with 100 calls a second each; the server dies, and starts again cold. */
const recovery = async (): Promise<Omit<Found, "herd">> => {
  const clients = await fleets[name]({ size: 20, windowMillis: 5000, windowCapMillis: 30_000 })
  const [died, back, end] = [5000, 25_000, 205_000]
  const server = new Server()
  let calm = 0
  for (let now = 0; now < end; now += tickMillis) {
    await pass(tickMillis)
    server.pass(now)
    if (now === died) server.fall(back)
    const before = server.answered
    for (const client of clients) void client(() => server.call())
    await pass(0)
    // Full service is a second in which every call reaches the server and none makes it fall.
    calm = server.asked === clients.length && server.answered >= before && server.isUp ? calm + tickMillis : 0
    if (now > back && calm >= 1000) return { falls: server.falls - 1, recoveryMillis: now - calm - back }
  }
  return { falls: server.falls - 1, recoveryMillis: undefined }
}

startTime(Number(process.env["BENCH_SEED"] ?? 1))
const found: Found = { herd: name === "none" ? Number.NaN : await herd(), ...(await recovery()) }
process.send?.(found)
process.exit(0)
