/**
 * A redis-server of a test's own, on a free loopback port, for what a shared one must not suffer: being
 * killed, stopped and emptied. Runs wherever `redis-server` is installed; it keeps nothing on disk.
 */
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"

import { Effect, Redacted } from "effect"

/** Whether this machine can start one. */
export const installed = spawnSync("redis-server", ["--version"]).status === 0

const freePort = Effect.callback<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const answers = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"))
    const done = (alive: boolean) => {
      socket.destroy()
      resume(Effect.succeed(alive))
    }
    socket.once("data", () => done(true)).once("error", () => done(false))
  })

export const make = Effect.gen(function* () {
  const port = yield* freePort
  const dir = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(`${tmpdir()}/cribwork-redis-`)),
    (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
  )
  let running: ReturnType<typeof spawn> | undefined
  const signal = (name: NodeJS.Signals) => Effect.sync(() => running?.kill(name))
  const kill = Effect.callback<void>((resume) => {
    if (running === undefined) return resume(Effect.void)
    running.once("exit", () => resume(Effect.void)).kill("SIGKILL")
    running = undefined
  })
  const start = Effect.gen(function* () {
    const options = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", dir]
    running = spawn("redis-server", options, { stdio: "ignore" })
    while (!(yield* answers(port))) yield* Effect.sleep("5 millis")
  })
  yield* Effect.addFinalizer(() => kill)
  return {
    port,
    url: Redacted.make(`redis://127.0.0.1:${port}`),
    /** Starts it, empty, and waits until it answers. */
    start,
    /** As a crash: nothing is kept. */
    kill,
    /** Takes connections and answers nothing, as a hung machine does. */
    freeze: signal("SIGSTOP"),
    thaw: signal("SIGCONT")
  }
})
