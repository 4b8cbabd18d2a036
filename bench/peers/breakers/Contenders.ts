/**
 * What a call costs behind each breaker: the same trivial async function, awaited one after another. Closed, all
 * succeed; open, all are refused. Each is made as its readme says, with and without its own timeout.
 */
import * as Cockatiel from "cockatiel"
import { Duration, Effect, Exit, Layer, Logger, ManagedRuntime } from "effect"
import { CircuitBreaker } from "effect/persistence"
import Opossum from "opossum"

import { Breaker } from "../../../src/domain/breakers/Breaker.ts"
import * as Dependency from "../../../src/domain/breakers/Dependency.ts"
import * as Terms from "../../../src/domain/breakers/Terms.ts"
import * as Deadline from "../../../src/domain/Deadline.ts"
import { Gate } from "../../../src/layers/breakers/Gate.ts"
import * as MemoryBreakers from "../../../src/layers/breakers/MemoryBreakers.ts"
import { Counts } from "../../../src/layers/breakers/Signals.ts"

export interface Contender {
  /** So many calls that succeed. */
  readonly closed: (calls: number) => Promise<unknown>
  /** So many that are refused; of a bare call, so many that fail. */
  readonly open: (calls: number) => Promise<unknown>
}

const threshold = 5
const hour = 3_600_000
/** Long enough to never end a call, short as timeouts are. */
const timeoutMillis = 1000

const up = async () => 1
const down = new Error("down")
const fails = async () => {
  throw down
}
const nothing = () => {}

const awaited =
  (call: () => Promise<unknown>) =>
  async (calls: number): Promise<void> => {
    for (let n = 0; n < calls; n++) await call()
  }

const refused =
  (call: () => Promise<unknown>) =>
  async (calls: number): Promise<void> => {
    for (let n = 0; n < calls; n++) await call().catch(nothing)
  }

const promise = async (): Promise<Contender> => ({ closed: awaited(up), open: refused(fails) })

const opossum = (timeout: number | false) => async (): Promise<Contender> => {
  const options = { timeout, resetTimeout: hour }
  const one = new Opossum(up, options)
  const other = new Opossum(fails, options)
  other.open()
  return { closed: awaited(() => one.fire()), open: refused(() => other.fire()) }
}

const cockatiel = (timed: boolean) => async (): Promise<Contender> => {
  const breaker = () =>
    Cockatiel.circuitBreaker(Cockatiel.handleAll, {
      halfOpenAfter: hour,
      breaker: new Cockatiel.ConsecutiveBreaker(threshold)
    })
  const policy = timed
    ? () => Cockatiel.wrap(breaker(), Cockatiel.timeout(timeoutMillis, Cockatiel.TimeoutStrategy.Aggressive))
    : breaker
  const one = policy()
  const other = policy()
  await refused(() => other.execute(fails))(threshold)
  return { closed: awaited(() => one.execute(up)), open: refused(() => other.execute(up)) }
}

const upEffect = () => Effect.promise(up)
const downEffect = () => Effect.fail(down)

/** Each call is described anew, as in a program, where it has arguments. */
const times =
  <A, E, R>(call: () => Effect.Effect<A, E, R>) =>
  (calls: number) =>
    Effect.gen(function* () {
      for (let n = 0; n < calls; n++) yield* call()
    })

const bareEffect = async (): Promise<Contender> => ({
  closed: (calls) => Effect.runPromise(times(upEffect)(calls)),
  open: (calls) => Effect.runPromise(times(() => Effect.ignore(downEffect()))(calls))
})

const effect = (timed: boolean) => async (): Promise<Contender> => {
  const runtime = ManagedRuntime.make(
    CircuitBreaker.layer({ tripPolicy: CircuitBreaker.consecutive(threshold), openDuration: hour }).pipe(
      Layer.provide(CircuitBreaker.layerStoreMemory())
    )
  )
  const breaker = await runtime.runPromise(CircuitBreaker.CircuitBreaker)
  const work = timed ? () => Effect.timeout(upEffect(), timeoutMillis) : upEffect
  const one = () => breaker.execute(work(), { key: "one" })
  const other = () => Effect.ignore(breaker.execute(downEffect(), { key: "other" }))
  await runtime.runPromise(times(other)(threshold))
  return {
    closed: (calls) => runtime.runPromise(times(one)(calls)),
    open: (calls) => runtime.runPromise(times(other)(calls))
  }
}

const defaults: Terms.Defaults = {
  failuresMax: threshold,
  window: Duration.millis(hour),
  windowCap: Duration.millis(2 * hour),
  fleet: 1
}
const classify: Dependency.Classify<Error> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })

/** Timed: ended by the breaker, and under a deadline of its caller. Otherwise by the client, and nobody waits. */
const ours = (timed: boolean) => async (): Promise<Contender> => {
  const runtime = ManagedRuntime.make(MemoryBreakers.layerWith(defaults).pipe(Layer.provideMerge(Logger.layer([]))))
  const breaker = await runtime.runPromise(Breaker)
  const policy: Dependency.Policy = {
    timeout: Duration.millis(timeoutMillis),
    endedBy: timed ? "breaker" : "client"
  }
  const call = Dependency.write(Dependency.make("one", "bench", policy), "call", { classify })
  const dead = Dependency.write(Dependency.make("other", "bench", policy), "call", { classify })
  const one = () => breaker.write(call, upEffect())
  const other = () => Effect.ignore(breaker.write(dead, downEffect()))
  await runtime.runPromise(times(other)(threshold))
  const under = timed ? Deadline.within("1 hour") : <A, E, R>(all: Effect.Effect<A, E, R>) => all
  return {
    closed: (calls) => runtime.runPromise(under(times(one)(calls))),
    open: (calls) => runtime.runPromise(under(times(other)(calls)))
  }
}

/** What decides, without the Effect around it, as a library of promises would use it. */
const core = async (): Promise<Contender> => {
  const dependency = Dependency.make("core", "bench", { timeout: Duration.millis(timeoutMillis) })
  const fiber = Effect.runFork(Effect.never)
  const gate = () =>
    new Gate(dependency, Terms.resolve(defaults, dependency.policy), new Counts(fiber.context), nothing)
  const guarded = (one: Gate, work: () => Promise<unknown>) => async () => {
    const admission = one.admit(fiber)
    if ("state" in admission) throw down
    try {
      await work()
      one.settle(admission, { _tag: "Success" }, fiber)
    } catch (error) {
      one.settle(admission, { _tag: "Failure" }, fiber)
      throw error
    }
  }
  const other = gate()
  await refused(guarded(other, fails))(threshold)
  return { closed: awaited(guarded(gate(), up)), open: refused(guarded(other, up)) }
}

export const contenders = {
  promise,
  core,
  cockatiel: cockatiel(false),
  "cockatiel, timeout": cockatiel(true),
  opossum: opossum(false),
  "opossum, timeout": opossum(timeoutMillis),
  effect: bareEffect,
  ours: ours(false),
  "ours, timeout and deadline": ours(true),
  CircuitBreaker: effect(false),
  "CircuitBreaker, Effect.timeout": effect(true)
} satisfies Readonly<Record<string, () => Promise<Contender>>>

export type Name = keyof typeof contenders
