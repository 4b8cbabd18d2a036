/**
 * `up`, `down` and `status`. Each may be repeated at will: it looks at what is there and does what is
 * missing. A server that fails keeps nobody else from starting; the exit code tells.
 */
import { setTimeout as sleep } from "node:timers/promises"

import { writeEnv } from "./EnvFile.ts"
import type { Home } from "./Home.ts"
import { kafkaServer } from "./KafkaServer.ts"
import { choosePorts, isFree } from "./Ports.ts"
import { postgresServer } from "./PostgresServer.ts"
import { findRunning, start, stop, tail } from "./Process.ts"
import type { Owns, Running } from "./Process.ts"
import { during, say } from "./Progress.ts"
import { readRecord, record } from "./Record.ts"
import { redisCluster } from "./RedisCluster.ts"
import { redisServer } from "./RedisServer.ts"
import type { Name, Ports, Server } from "./Server.ts"
import { textOf, Trouble } from "./Trouble.ts"

/** In the order they are started in: the slowest last, so that the others are up meanwhile. */
const servers: Readonly<Record<Name, Server>> = {
  postgres: postgresServer,
  redis: redisServer,
  "redis-cluster": redisCluster,
  kafka: kafkaServer
}

export const names = Object.keys(servers) as ReadonlyArray<Name>

export const exitCodes = { done: 0, failed: 1, usage: 2, notUp: 3 } as const

const pollMillis = 100

/** The processes of `server` that run, and its ports if we know them. */
const look = (home: Home, server: Server) => {
  const written = readRecord(home)[server.name]
  const ports: Ports = written?.ports ?? {}
  const owns = (line: string) => server.owns(home, ports, line)
  const running = findRunning(owns, written?.pids ?? [], server.processes)
  return { ports, owns, running, whole: running.length === server.processes }
}

const pids = (running: ReadonlyArray<Pick<Running, "pid">>) => `pid ${running.map(({ pid }) => pid).join(", ")}`

/** Ends all of them at once, and says how the most stubborn went. */
const stopAll = async (running: ReadonlyArray<Pick<Running, "pid">>, owns: Owns, server: Server) => {
  const ways = await Promise.all(running.map(({ pid }) => stop(pid, owns, server.politeSignal, server.graceMillis)))
  return ways.includes("killed") ? "killed" : "stopped"
}

const list = (home: Home) =>
  writeEnv(
    home,
    names.map((name) => {
      const server = servers[name]
      const { ports, running, whole } = look(home, server)
      return {
        name,
        variable: server.variable,
        ...(!whole
          ? {}
          : {
              up: {
                process: pids(running),
                url: server.url(home, ports),
                log: server.logFile(home),
                notes: server.notes(ports)
              }
            })
      }
    })
  )

/** Asks until it answers; gives up when the process is gone or the time its start may take is over. */
const untilItAnswers = async (home: Home, server: Server, ports: Ports, alive: () => boolean): Promise<void> => {
  const end = performance.now() + server.startMillis
  for (;;) {
    const refusal = await server.ask(home, ports).then(
      () => undefined,
      (error: unknown) => textOf(error)
    )
    if (refusal === undefined) return
    if (!alive())
      throw new Trouble(`it ended at once; the end of ${server.logFile(home)}:\n${tail(server.logFile(home))}`)
    if (performance.now() > end) {
      throw new Trouble(
        `it does not answer after ${server.startMillis / 1000} s (${refusal}); the end of ${server.logFile(home)}:\n${tail(server.logFile(home))}`
      )
    }
    await sleep(pollMillis)
  }
}

/** Starts what does not run; the second stage waits for the answer, so that servers start side by side. */
const bringUp = async (home: Home, server: Server): Promise<() => Promise<string>> => {
  const before = look(home, server)
  const complete = server.roles.every((role) => before.ports[role] !== undefined)
  if (before.whole && complete) {
    const alive = () => look(home, server).whole
    return async () => {
      try {
        await untilItAnswers(home, server, before.ports, alive)
      } catch (error) {
        if (alive()) throw error
        // We met it on its way out: it had been killed and not yet gone.
        return await (
          await bringUp(home, server)
        )()
      }
      return `already up, ${pids(before.running)}, ${before.running[0]?.line.split(" ")[0]}`
    }
  }
  // It lacks a process, or the record of its ports is lost and we cannot tell anyone where it is.
  await stopAll(before.running, before.owns, server)

  const taken = names
    .filter((name) => name !== server.name)
    .flatMap((name) => Object.values(look(home, servers[name]).ports))
  const ports = await choosePorts(server.roles, before.ports, taken, home.id, isFree)
  record(home, server.name, { ports })
  const commands = await server.prepare(home, ports)
  const begun = performance.now()
  const children = await Promise.all(commands.map(start))
  const running = children.map(({ pid = 0 }) => ({ pid }))
  record(home, server.name, { ports, pids: running.map(({ pid }) => pid) })
  const owns = (line: string) => server.owns(home, ports, line)
  const alive = () => children.every(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
  return async () => {
    try {
      await untilItAnswers(home, server, ports, alive)
    } catch (error) {
      await stopAll(running, owns, server)
      throw error
    }
    return `up in ${((performance.now() - begun) / 1000).toFixed(1)} s, ${pids(running)}, ${commands[0]?.argv[0]}`
  }
}

const report = async (name: Name, outcome: () => Promise<string>): Promise<boolean> => {
  try {
    say(`${name}: ${await outcome()}`)
    return true
  } catch (error) {
    say(`${name}: ${error instanceof Trouble ? error.message : `failed: ${textOf(error)}`}`)
    return false
  }
}

export const up = async (home: Home, wanted: ReadonlyArray<Name>): Promise<number> => {
  const started: Array<Promise<boolean>> = []
  for (const name of wanted) {
    try {
      const answered = await bringUp(home, servers[name])
      started.push(report(name, () => during(`waiting for ${name}`, answered)))
    } catch (error) {
      started.push(report(name, () => Promise.reject(error)))
    }
  }
  const successes = await Promise.all(started)
  list(home)
  if (successes.some(Boolean)) say("to use them: source .cribwork/servers.env")
  return successes.every(Boolean) ? exitCodes.done : exitCodes.failed
}

export const down = async (home: Home, wanted: ReadonlyArray<Name>): Promise<number> => {
  const stopOne = async (name: Name): Promise<boolean> => {
    const server = servers[name]
    const { ports, owns, running } = look(home, server)
    try {
      if (running.length === 0) say(`${name}: was not up`)
      else {
        const how = await during(`waiting for ${name} to leave`, () => stopAll(running, owns, server))
        say(`${name}: ${how}, ${pids(running)}`)
      }
      if (Object.keys(ports).length > 0) record(home, name, { ports })
      return true
    } catch (error) {
      say(`${name}: ${textOf(error)}`)
      return false
    }
  }
  const successes = await Promise.all(wanted.map(stopOne))
  list(home)
  return successes.every(Boolean) ? exitCodes.done : exitCodes.failed
}

/** Terminals end up in screenshots and logs: the password stays in the env file. */
export const withoutPassword = (url: string): string => url.replace(/:[^:@/]+@/, ":…@")

export const status = async (home: Home, wanted: ReadonlyArray<Name>): Promise<number> => {
  const rows = await Promise.all(
    wanted.map(async (name) => {
      const server = servers[name]
      const { ports, running, whole } = look(home, server)
      if (!whole) {
        const some = running.length === 0 ? "" : `, ${running.length} of ${server.processes} processes run`
        return { up: false, text: `${name}: not up${some}` }
      }
      const begun = performance.now()
      const answer = await server.ask(home, ports).then(
        () => `answers in ${Math.ceil(performance.now() - begun)} ms`,
        (error: unknown) => `does not answer: ${textOf(error)}`
      )
      const where = `${pids(running)}, ${withoutPassword(server.url(home, ports))}`
      return { up: answer.startsWith("answers"), text: `${name}: ${where}, ${answer}` }
    })
  )
  for (const { text } of rows) say(text)
  return rows.every((row) => row.up) ? exitCodes.done : exitCodes.notUp
}
