/**
 * Redis from the system. It keeps nothing on disk: what the house puts there is never the truth, and every
 * start from empty proves it again.
 */
import * as path from "node:path"

import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import { canInstall, install, run, which } from "./Machine.ts"
import type { Ports, Server } from "./Server.ts"
import { Trouble } from "./Trouble.ts"
import { exchange } from "./Wire.ts"

const logFile = (home: Home) => path.join(home.dir, "redis.log")
const configFile = (home: Home) => path.join(home.dir, "redis.conf")
const clientPort = (ports: Ports) => ports["client"] ?? 0

/** Where it is; installs it when it is missing and may be. */
export const findRedis = async (): Promise<string> => {
  const found = which("redis-server")
  if (found !== undefined) return found
  if (canInstall()) {
    await install("redis-server")
    const installed = which("redis-server")
    if (installed !== undefined) return installed
  }
  throw new Trouble(
    "redis-server is not installed. As root: apt-get install redis-server (macOS: brew install redis), then run this again."
  )
}

/** The version as [major, minor], from what `redis-server --version` prints. */
export const redisVersion = (output: string): readonly [number, number] => {
  const [, major = "0", minor = "0"] = /v=(\d+)\.(\d+)/.exec(output) ?? []
  return [Number(major), Number(minor)]
}

export const redisConfig = (home: Home, ports: Ports, [major, minor]: readonly [number, number]): string =>
  [
    "bind 127.0.0.1",
    `port ${clientPort(ports)}`,
    `dir ${JSON.stringify(home.dir)}`,
    "daemonize no",
    'save ""',
    "appendonly no",
    // Else it writes over its command line, by which we know it again. Older ones do so always.
    ...(major > 6 || (major === 6 && minor >= 2) ? ["set-proc-title no"] : []),
    ""
  ].join("\n")

export const redisServer: Server = {
  name: "redis",
  variable: "REDIS_URL",
  roles: ["client"],
  processes: 1,
  politeSignal: "SIGTERM",
  graceMillis: 10_000,
  startMillis: 30_000,
  logFile,
  owns: (home, ports, line) => {
    const [program = "", ...rest] = line.split(" ")
    return (
      path.basename(program) === "redis-server" &&
      (rest.join(" ") === configFile(home) || rest[0] === `127.0.0.1:${clientPort(ports)}`)
    )
  },
  prepare: async (home, ports) => {
    const program = await findRedis()
    const version = redisVersion((await run(program, ["--version"])).output)
    writeWhole(configFile(home), redisConfig(home, ports, version))
    return [{ argv: [program, configFile(home)], log: logFile(home) }]
  },
  url: (_, ports) => `redis://127.0.0.1:${clientPort(ports)}`,
  ask: async (_, ports) => {
    const answer = await exchange(clientPort(ports), Buffer.from("PING\r\n"), (bytes) => bytes.includes("\r\n"))
    if (answer.toString() !== "+PONG\r\n") throw new Error(`it answers PING with ${answer.toString().trim()}`)
  },
  notes: () => []
}
