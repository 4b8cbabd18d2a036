/** What a breaker holds in memory, idle and after 1,000 calls, of 300 in a process of their own; and its timers. */
import { createHook } from "node:async_hooks"
import { setImmediate } from "node:timers/promises"

import * as Cockatiel from "cockatiel"
import { Duration, Effect, Exit, Layer, Logger, ManagedRuntime } from "effect"
import { CircuitBreaker } from "effect/persistence"
import Opossum from "opossum"

import { Breaker } from "../../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../../src/layers/breakers/MemoryBreakers.ts"
import { median } from "../../Rounds.ts"

/** Bytes a breaker, and timers that were set for all of them. */
export interface Held {
  readonly idle: number
  readonly used: number
  readonly timers: number
}

type Make = () => () => Promise<unknown>

const breakers = 300
const calls = 1000
const up = async () => 1
const classify: Dependency.Classify<never> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })

const makers = {
  opossum: async (): Promise<Make> => () => {
    const breaker = new Opossum(up, {})
    return () => breaker.fire()
  },
  cockatiel: async (): Promise<Make> => () => {
    const breaker = Cockatiel.circuitBreaker(Cockatiel.handleAll, {
      halfOpenAfter: 1000,
      breaker: new Cockatiel.ConsecutiveBreaker(5)
    })
    return () => breaker.execute(up)
  },
  /** A key is made by its first call, so that one idle has had one. */
  CircuitBreaker: async (): Promise<Make> => {
    const runtime = ManagedRuntime.make(
      CircuitBreaker.layer({ tripPolicy: CircuitBreaker.consecutive(5), openDuration: 1000 }).pipe(
        Layer.provide(CircuitBreaker.layerStoreMemory())
      )
    )
    const breaker = await runtime.runPromise(CircuitBreaker.CircuitBreaker)
    let made = 0
    return () => {
      const key = `dependency ${made++}`
      runtime.runSync(breaker.execute(Effect.void, { key }))
      return () => runtime.runPromise(breaker.execute(Effect.promise(up), { key }))
    }
  },
  /** As they come: two trips, a ramp, metrics. Their policy is written once, as the others' options are. */
  ours: async (): Promise<Make> => {
    const runtime = ManagedRuntime.make(
      MemoryBreakers.layerWith({
        failuresMax: 5,
        window: Duration.seconds(1),
        windowCap: Duration.seconds(30),
        fleet: 1
      }).pipe(Layer.provideMerge(Logger.layer([])))
    )
    const breaker = await runtime.runPromise(Breaker)
    const policy: Dependency.Policy = { timeout: Duration.seconds(1) }
    let made = 0
    return () => {
      const dependency = Dependency.make(`dependency ${made++}`, "bench", policy)
      runtime.runSync(breaker.permits(dependency))
      return () =>
        runtime.runPromise(breaker.write(Dependency.write(dependency, "call", { classify }), Effect.promise(up)))
    }
  }
}

const heap = async (): Promise<number> => {
  for (let turn = 0; turn < 5; turn++) {
    globalThis.gc?.()
    await setImmediate()
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const use = async (kept: ReturnType<typeof many>): Promise<void> => {
  for (const call of kept) for (let n = 0; n < calls; n++) await call()
}

const many = (make: Make) => Array.from({ length: breakers }, make)

const rounds = 5

/** Medians of the rounds: what is compiled on the way, and kept for all, is in some of them. */
const measure = async (): Promise<Held> => {
  const all: Array<ReturnType<typeof many>> = []
  const idle: Array<number> = []
  const used: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    const make = await makers[process.env["BENCH_CONTENDER"] as keyof typeof makers]()
    await make()()
    const before = await heap()
    const kept = many(make)
    all.push(kept) // None of them may be collected while another is measured.
    const made = await heap()
    await use(kept)
    idle.push((made - before) / breakers)
    used.push(((await heap()) - before) / breakers)
  }
  const make = await makers[process.env["BENCH_CONTENDER"] as keyof typeof makers]()
  let timers = 0
  const hook = createHook({
    init: (_, type) => {
      if (type === "Timeout") timers++
    }
  }).enable()
  many(make)
  hook.disable()
  if (all.length !== rounds) throw new Error("what is measured was not kept")
  return { idle: median(idle), used: median(used), timers }
}

process.send?.(await measure())
process.exit(0)
