/**
 * A fleet of clients of one dependency, each with a breaker of its own, on a clock that is told the time: timers
 * and `Date` are Node's mocks, chance comes from a seed. The libraries themselves are the real ones.
 */
import { mock } from "node:test"
import { setImmediate } from "node:timers/promises"

import * as Cockatiel from "cockatiel"
import { Clock, Duration, Effect, Exit, Layer, Logger, ManagedRuntime, Random, Schedule } from "effect"
import { CircuitBreaker } from "effect/persistence"
import Opossum from "opossum"

import { Breaker } from "../../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../../src/domain/breakers/Dependency.ts"
import * as MemoryBreakers from "../../../src/layers/breakers/MemoryBreakers.ts"

/** Calls the dependency, or not. Whether it answered is of no interest to a client that is only load. */
export type Client = (work: () => Promise<void>) => Promise<unknown>

export interface Fleet {
  readonly size: number
  readonly windowMillis: number
  readonly windowCapMillis: number
}

/** Failures in a row; of opossum, that many calls of which more than half failed. */
export const threshold = 5

export const startTime = (seed: number): void => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 0 })
  chance = random(seed)
  Math.random = chance
}

/** Lets time pass, and whatever it makes happen. */
export const pass = async (millis: number): Promise<void> => {
  mock.timers.tick(millis)
  await setImmediate()
  await setImmediate()
}

/** Mulberry32. */
export const random = (seed: number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

let chance = random(1)

const ignore = () => {}
const settled = (answer: Promise<unknown>) => answer.catch(ignore)
const clients = (size: number, make: () => Client) => Array.from({ length: size }, make)

const none = async ({ size }: Fleet) => clients(size, () => (work) => settled(work()))

const opossum = async ({ size, windowMillis }: Fleet) =>
  clients(size, () => {
    const breaker = new Opossum((work: () => Promise<void>) => work(), {
      timeout: false,
      volumeThreshold: threshold,
      resetTimeout: windowMillis,
      // A timer a second for each would be all that is measured.
      rollingPercentilesEnabled: false,
      enableSnapshots: false
    })
    return (work) => settled(breaker.fire(work))
  })

const cockatiel =
  (grows: boolean) =>
  async ({ size, windowCapMillis, windowMillis }: Fleet) =>
    clients(size, () => {
      const breaker = Cockatiel.circuitBreaker(Cockatiel.handleAll, {
        halfOpenAfter: grows
          ? new Cockatiel.ExponentialBackoff({ initialDelay: windowMillis, maxDelay: windowCapMillis })
          : windowMillis,
        breaker: new Cockatiel.ConsecutiveBreaker(threshold)
      })
      return (work) => settled(breaker.execute(work))
    })

const effect =
  (jittered: boolean) =>
  async ({ size, windowMillis }: Fleet) => {
    const constant = Schedule.spaced(windowMillis)
    const runtime = ManagedRuntime.make(
      CircuitBreaker.layer({
        tripPolicy: CircuitBreaker.consecutive(threshold),
        openDuration: jittered ? Schedule.jittered(constant) : constant
      }).pipe(Layer.provide(CircuitBreaker.layerStoreMemory()))
    )
    const breaker = await runtime.runPromise(CircuitBreaker.CircuitBreaker)
    let made = 0
    return clients(size, () => {
      const key = `client ${made++}`
      return (work) => runtime.runPromiseExit(breaker.execute(Effect.tryPromise(work), { key }))
    })
  }

/** The clock of `Date`, which does not step back here, for those who ask for one that never does. */
const simulated = Effect.map(Clock.Clock, (real) =>
  Object.assign(Object.create(real) as Clock.Clock, {
    monotonicTimeNanosUnsafe: () => BigInt(Date.now()) * 1_000_000n
  })
)

const ours = async ({ size, windowCapMillis, windowMillis }: Fleet) => {
  const runtime = ManagedRuntime.make(
    MemoryBreakers.layerWith({
      failuresMax: threshold,
      window: Duration.millis(windowMillis),
      windowCap: Duration.millis(windowCapMillis),
      fleet: size
    }).pipe(Layer.provideMerge([Logger.layer([]), Layer.effect(Clock.Clock, simulated)]))
  )
  const breaker = await runtime.runPromise(Breaker)
  const policy: Dependency.Policy = { timeout: Duration.seconds(1), endedBy: "client" }
  const seeded = { nextDoubleUnsafe: chance, nextIntUnsafe: () => Math.floor(chance() * 2 ** 32) }
  let made = 0
  return clients(size, () => {
    const call = Dependency.write<unknown>(Dependency.make(`client ${made++}`, "bench", policy), "call", {
      classify: (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })
    })
    return (work) =>
      runtime.runPromiseExit(Effect.provideService(breaker.write(call, Effect.tryPromise(work)), Random.Random, seeded))
  })
}

export const fleets = {
  none,
  opossum,
  cockatiel: cockatiel(false),
  "cockatiel, ExponentialBackoff": cockatiel(true),
  CircuitBreaker: effect(false),
  "CircuitBreaker, Schedule.jittered": effect(true),
  ours
} satisfies Readonly<Record<string, (fleet: Fleet) => Promise<ReadonlyArray<Client>>>>

export type Name = keyof typeof fleets
