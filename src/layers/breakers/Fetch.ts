/**
 * Breakers for those who have no Effect: promises in, promises out. The same circuits as in our own programs,
 * behind `fetch` or around any call that returns a promise.
 *
 *     const breakers = makeBreakers()
 *     const catalog = breakers.fetch("catalog", { timeoutMillis: 2000 })
 *     const response = await catalog("https://catalog.internal/items")
 *
 * Nothing is retried and nobody is queued. Call `close` when you are done.
 */
import { Cause, Clock, Context, DateTime, Duration, Effect, Exit, Layer, Logger, Option, Scope, Stream } from "effect"

import { Breaker } from "../../domain/breakers/Breaker.ts"
import type { BreakerError, State } from "../../domain/breakers/Breaker.ts"
import { Breakers } from "../../domain/breakers/Breakers.ts"
import * as Dependency from "../../domain/breakers/Dependency.ts"
import { retryAfterOf } from "../platform/RetryAfter.ts"
import * as HttpOutcome from "./HttpOutcome.ts"
import * as MemoryBreakers from "./MemoryBreakers.ts"

export interface BreakersOptions {
  /** Failures in a row that open a breaker; 5. */
  readonly failuresMax?: number
  /** First open window; it doubles with every failed probe, and each is drawn between itself and its double; 1000. */
  readonly windowMillis?: number
  /** Longest open window, jitter included; 30000. */
  readonly windowCapMillis?: number
  /** Processes that share the dependencies; 10. The first window must be long enough to spread their probes. */
  readonly fleet?: number
  /** Told of every change of state, in order. What it throws is dropped, and the next is told all the same. */
  readonly onChange?: (change: Change) => void
}

export interface Change {
  readonly dependency: string
  readonly from: State
  readonly to: State
  readonly at: Date
  readonly why: string
}

export interface DependencyOptions {
  /** Of one call; for `fetch`, until the head of the answer is there. */
  readonly timeoutMillis: number
  /** Calls in flight at once; the next is refused. Unbounded unless set. */
  readonly inFlightMax?: number
  /** A success that takes longer is slow; a breaker opens when half of the last 20 calls or more were slow or failed. */
  readonly slowAfterMillis?: number
  /** What a 429 shows about the dependency; a failure, unless told otherwise. */
  readonly limited?: HttpOutcome.Limited
}

/** How a call that the breaker answers in place of its dependency is rejected. Only `timeout` means that it ran. */
export class BreakerRefusal extends Error {
  override readonly name = "BreakerRefusal"
  readonly dependency: string
  readonly path: ReadonlyArray<string>
  readonly reason: "open" | "bulkhead" | "deadline" | "timeout"
  /** When it makes sense to ask again; 0 where nobody knows. */
  readonly retryAfterMillis: number

  constructor({ dependency, message, path, reason }: BreakerError) {
    super(message)
    this.dependency = dependency
    this.path = path
    this.reason = reasons[reason._tag]
    this.retryAfterMillis = reason._tag === "CircuitOpen" ? Duration.toMillis(reason.retryAfter) : 0
  }
}

const reasons = {
  CircuitOpen: "open",
  BulkheadFull: "bulkhead",
  DeadlineTooShort: "deadline",
  CallTimedOut: "timeout"
} as const

export interface ReadOptions extends DependencyOptions {
  /** Longest age at which an old value is still told. */
  readonly maxAgeMillis: number
  /** After this long an old value may be told, while the call goes on to its own end. */
  readonly patienceMillis?: number
}

export type Answer<A> =
  | { readonly stale: false; readonly value: A }
  | { readonly stale: true; readonly value: A; readonly ageMillis: number }

/** Aborted when the breaker gives the call up, or when its caller does. */
type Call<A> = (signal: AbortSignal) => Promise<A>

export interface GuardedBreakers {
  /** A `fetch` behind a breaker. Answers of 5xx, 408 and 429 count as failures, and are returned all the same. */
  readonly fetch: (dependency: string, options: DependencyOptions) => typeof globalThis.fetch
  /** Any call that changes something: it fails loud. What it rejects with counts as a failure. */
  readonly write: (
    dependency: string,
    options: DependencyOptions
  ) => <A>(call: Call<A>, signal?: AbortSignal) => Promise<A>
  /** A read of which an old answer is better than none. There is no such thing for writes. */
  readonly read: (
    dependency: string,
    options: ReadOptions
  ) => <A>(
    call: Call<A>,
    fallback: () => Promise<{ readonly value: A; readonly ageMillis: number }>,
    signal?: AbortSignal
  ) => Promise<Answer<A>>
  readonly states: () => ReadonlyArray<{
    readonly dependency: string
    readonly state: State
    readonly retryAfterMillis: number
  }>
  readonly close: () => Promise<void>
}

/** What a call rejected with, kept as it was. */
class Rejected {
  readonly _tag = "Rejected"
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

/** Throws when the options contradict themselves; so does each of its functions, for a dependency's. */
export const makeBreakers = (options: BreakersOptions = {}): GuardedBreakers => {
  const { failuresMax = 5, fleet = 10, onChange, windowCapMillis = 30_000, windowMillis = 1000 } = options
  const scope = Scope.makeUnsafe()
  const layer = MemoryBreakers.layerWith({
    failuresMax,
    fleet,
    window: Duration.millis(windowMillis),
    windowCap: Duration.millis(windowCapMillis)
  }).pipe(Layer.provide(Logger.layer([])))
  const context = Effect.runSync(Layer.buildWithScope(layer, scope))
  const breaker = Context.get(context, Breaker)
  const breakers = Context.get(context, Breakers)
  if (onChange !== undefined) {
    const telling = Stream.runForEach(breakers.changes, ({ at, ...change }) =>
      Effect.ignoreCause(Effect.sync(() => onChange({ ...change, at: DateTime.toDateUtc(at) })))
    )
    Effect.runSync(Effect.forkIn(telling, scope, { startImmediately: true }))
  }

  const declared = (name: string, { inFlightMax, slowAfterMillis, timeoutMillis }: DependencyOptions) => {
    const dependency = Dependency.make(name, "http", {
      timeout: Duration.millis(timeoutMillis),
      ...(inFlightMax === undefined ? {} : { inFlightMax }),
      ...(slowAfterMillis === undefined
        ? {}
        : {
            slowAfter: Duration.millis(slowAfterMillis),
            trips: [{ _tag: "Consecutive", failures: failuresMax }, halfSlow]
          })
    })
    Effect.runSync(breakers.declare(dependency))
    return dependency
  }

  return {
    fetch: (name, own) => {
      const dependency = declared(name, own)
      const classify = ofResponse(own.limited)
      const reading = Dependency.read<Rejected>(dependency, "read", { authoritative: true, classify })
      const writing = Dependency.write<Rejected>(dependency, "write", { classify })
      return (input, init) => {
        const request = input instanceof Request ? input : undefined
        const signal = init?.signal ?? request?.signal
        const call = promised((aborted) =>
          // @effect-diagnostics-next-line globalFetch:off Guarding it is what this is for.
          globalThis.fetch(input, {
            ...init,
            // The caller's own is heard even when the head has come and the body has not.
            signal: signal === undefined ? aborted : AbortSignal.any([aborted, signal])
          })
        )
        return reads.has((init?.method ?? request?.method ?? "GET").toUpperCase())
          ? settled(breaker.read(reading, call), signal)
          : settled(breaker.write(writing, call), signal)
      }
    },
    write: (name, own) => {
      const operation = Dependency.write<Rejected>(declared(name, own), "write", { classify: ofCall })
      return (call, signal) => settled(breaker.write(operation, promised(call)), signal)
    },
    read: (name, own) => {
      const { maxAgeMillis, patienceMillis } = own
      const operation = Dependency.read<Rejected>(declared(name, own), "read", {
        authoritative: false,
        classify: ofCall,
        maxAge: Duration.millis(maxAgeMillis),
        ...(patienceMillis === undefined ? {} : { patience: Duration.millis(patienceMillis) })
      })
      return <A>(
        call: Call<A>,
        fallback: () => Promise<{ readonly value: A; readonly ageMillis: number }>,
        signal?: AbortSignal
      ) => {
        const known = Effect.map(promised(fallback), ({ ageMillis, value }) => ({
          value,
          age: Duration.millis(ageMillis)
        }))
        const told = Effect.map(breaker.read(operation, promised(call), known), (answer): Answer<A> =>
          answer._tag === "Fresh"
            ? { stale: false, value: answer.value }
            : { stale: true, value: answer.value, ageMillis: Duration.toMillis(answer.age) }
        )
        return settled(told, signal)
      }
    },
    states: () =>
      Effect.runSync(breakers.snapshots).map(({ dependency, retryAfter, state }) => ({
        dependency,
        state,
        retryAfterMillis: Duration.toMillis(retryAfter)
      })),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const reads = new Set(["GET", "HEAD", "OPTIONS"])

const halfSlow = {
  _tag: "TimeWindow",
  over: Duration.seconds(10),
  callsMin: 20,
  failureRate: 0.5,
  slowRate: 0.5
} as const

const promised = <A>(call: Call<A>): Effect.Effect<A, Rejected> =>
  Effect.tryPromise({ try: call, catch: (error) => new Rejected(error) })

const ofCall: Dependency.Classify<Rejected> = (exit) => ({ _tag: Exit.isSuccess(exit) ? "Success" : "Failure" })

const ofResponse =
  (limited: HttpOutcome.Limited | undefined): Dependency.Classify<Rejected> =>
  (exit) => {
    if (Exit.isFailure(exit)) return { _tag: "Failure" }
    const { headers, status } = exit.value as Response
    const now = Effect.runSync(Clock.currentTimeMillis)
    return HttpOutcome.outcomeOf(status, retryAfterOf(headers.get("retry-after") ?? undefined, now), limited)
  }

/** As a promise of its caller's world: what the call rejected with, or the signal's reason, or a refusal. */
const settled = async <A>(
  effect: Effect.Effect<A, Rejected | BreakerError>,
  signal: AbortSignal | null | undefined
): Promise<A> => {
  signal?.throwIfAborted()
  const exit = await Effect.runPromiseExit(effect, signal == null ? {} : { signal })
  if (Exit.isSuccess(exit)) return exit.value
  const failed = Option.getOrUndefined(Exit.findErrorOption(exit))
  if (failed instanceof Rejected) throw failed.error
  if (failed !== undefined) throw new BreakerRefusal(failed)
  signal?.throwIfAborted()
  throw Cause.squash(exit.cause)
}
