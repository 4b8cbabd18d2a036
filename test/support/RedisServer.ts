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

/** Sends one inline command and waits for its whole short answer. */
export const say = (port: number, command: string) =>
  Effect.callback<string>((resume) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`))
    const done = (answer: string) => {
      socket.destroy()
      resume(Effect.succeed(answer))
    }
    socket.once("data", (bytes) => done(bytes.toString())).once("error", (error) => done(`-${error.message}`))
  })

const answers = (port: number) => Effect.map(say(port, "PING"), (answer) => answer.startsWith("+PONG"))

/** Where one lives: its port, another that is free for it, and its folder. */
export interface Place {
  readonly port: number
  readonly spare: number
  readonly dir: string
}

export const plain = ({ dir, port }: Place) => ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", dir]

/** With a command line of its own, asked for at every start. */
export const makeWith = (options: (place: Place) => ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const port = yield* freePort
    const spare = yield* freePort
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
      running = spawn("redis-server", options({ port, spare, dir }), { stdio: "ignore" })
      while (!(yield* answers(port))) yield* Effect.sleep("5 millis")
    })
    yield* Effect.addFinalizer(() => kill)
    return {
      port,
      spare,
      dir,
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

export const make = makeWith(plain)

export type Server = Effect.Success<typeof make>

/** One of its own that answers. */
export const started = Effect.tap(make, ({ start }) => start)
