/**
 * How peers are compared: in one run, one after another in slices, each round in the opposite order of the
 * one before, so that what the machine does meanwhile falls on all of them. Medians, and ratios of one round.
 */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"

import type { Measured, Said, Slice } from "./load.ts"

/** A slice that is not over by then hangs. */
const sliceMax = 30_000

export const start = (file: string, env: Readonly<Record<string, string>>, execArgv: ReadonlyArray<string> = []) =>
  fork(fileURLToPath(new URL(file, import.meta.url)), {
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], NODE_ENV: "production", ...env },
    execArgv: [...execArgv],
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })

/** The next word of a process; fails when it ends instead. */
export const heard = async <A>(child: ChildProcess, waitMax = sliceMax): Promise<A> => {
  const abort = new AbortController()
  const silent = AbortSignal.timeout(waitMax)
  const ended = (code: number | null) => abort.abort(new Error(`a process ended with ${code}`))
  child.once("exit", ended)
  try {
    const [word] = (await once(child, "message", { signal: AbortSignal.any([abort.signal, silent]) })) as [A]
    return word
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error
  } finally {
    child.off("exit", ended)
  }
}

/** For a program that is told its port and says nothing. */
export const freePort = async (): Promise<number> => {
  const probe = createServer().listen(0, "127.0.0.1")
  await once(probe, "listening")
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, "close")
  return port
}

/** Waits until a house is ready to serve. */
export const isUp = async (port: number): Promise<void> => {
  const since = performance.now()
  while (performance.now() - since < sliceMax) {
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined)
    if (answer?.ok === true) return
    await setTimeout(50)
  }
  throw new Error("the house does not become ready")
}

/** Ended by SIGTERM, and waited for. */
export const stop = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, "exit")
  child.kill("SIGTERM")
  await ended
}

export const generate = async (generator: ChildProcess, slice: Slice): Promise<Measured> => {
  generator.send(slice)
  const said = await heard<Said>(generator)
  if ("failed" in said) throw new Error(said.failed)
  return said.measured
}

/** `rounds` times each, there and back. */
export const interleaved = async <Name extends string, A = Measured>(
  names: ReadonlyArray<Name>,
  rounds: number,
  measure: (name: Name) => Promise<A>
): Promise<Readonly<Record<Name, ReadonlyArray<A>>>> => {
  const all = Object.fromEntries(names.map((name) => [name, [] as Array<A>])) as Record<Name, Array<A>>
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) all[name].push(await measure(name))
  }
  return all
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

export const rate = ({ requests, seconds }: Measured): number => requests / seconds
/** CPU microseconds a request. */
export const cost =
  (...groups: ReadonlyArray<string>) =>
  ({ cpu, requests }: Measured): number =>
    groups.reduce((sum, group) => sum + (cpu[group] ?? 0), 0) / requests

/** The median of what one is of the other, round by round. */
export const ratio = <A = Measured>(
  ours: ReadonlyArray<A>,
  theirs: ReadonlyArray<A>,
  of: (ours: A, theirs: A) => number
): number => median(ours.map((one, round) => of(one, theirs[round] as A)))
