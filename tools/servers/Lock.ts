/**
 * One `servers` command at a time in a checkout. The lock is a listening abstract socket: the kernel frees
 * it when its holder dies, however it dies, so there is never a stale one to judge. Elsewhere than on Linux
 * there are no such sockets, and no lock.
 */
import { createServer } from "node:net"
import type { Server } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"

import type { Home } from "./Home.ts"
import { say } from "./Progress.ts"

const pollMillis = 250

const tryLock = (name: string): Promise<Server | undefined> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(undefined) : reject(error)
    )
    server.listen(`\0cribwork-servers-${process.getuid?.()}-${name}`, () => resolve(server))
  })

/** Runs `work` once no other command of this checkout runs; those are bounded, so this wait is too. */
export const alone = async <A>(home: Home, work: () => Promise<A>): Promise<A> => {
  if (process.platform !== "linux") return work()
  let lock = await tryLock(home.id)
  if (lock === undefined) say("another `servers` command is at work in this checkout; waiting for it")
  for (; lock === undefined; lock = await tryLock(home.id)) await sleep(pollMillis)
  try {
    return await work()
  } finally {
    lock.close()
  }
}
