/** A redis-server of a bench's own: what others do to theirs does not count here, and it may be frozen and killed. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { setTimeout } from "node:timers/promises"

import { Redis } from "ioredis"

import { freePort } from "./Rounds.ts"

const answers = async (port: number): Promise<void> => {
  for (;;) {
    const client = new Redis({ port, lazyConnect: true, retryStrategy: () => null })
    client.on("error", () => {})
    const up = await client.connect().then(
      () => true,
      () => false
    )
    client.disconnect()
    if (up) return
    await setTimeout(10)
  }
}

export const startRedis = async () => {
  const port = await freePort()
  const dir = mkdtempSync(`${tmpdir()}/cribwork-bench-`)
  const run = () =>
    spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", dir], { stdio: "ignore" })
  let child = run()
  await answers(port)
  const kill = async () => {
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  }
  return {
    port,
    pid: child.pid ?? 0,
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
    kill,
    /** Empty, on the same port. */
    restart: async () => {
      child = run()
      await answers(port)
    },
    stop: async () => {
      await kill()
      rmSync(dir, { recursive: true, force: true })
    }
  }
}
