/**
 * A `Breaker` that counts in this process. Two processes do not see each other, each finds out alone. No
 * timer and no fiber of its own: an open circuit costs nothing until somebody calls. Holds at most
 * `circuitsMax` circuits; beyond that the oldest that is closed starts over.
 */
import { Cause, Clock, Data, Duration, Effect, Exit, Layer, Metric, Random, Result } from "effect"

import { Breaker, CircuitOpen } from "../../domain/breakers/Breaker.ts"
import type { Dependency, Permit } from "../../domain/breakers/Breaker.ts"
import * as Circuit from "../../domain/breakers/Circuit.ts"
import { Settings } from "../platform/Settings.ts"

/** Names of dependencies are written in code; this is a backstop against one that was made from input. */
const circuitsMax = 1000

/** What holds for a dependency whose own policy says nothing else. */
export interface Options {
  readonly failuresMax: number
  readonly window: Duration.Duration
  readonly windowCap: Duration.Duration
  readonly probeLease: Duration.Duration
}

/** A policy that cannot be kept, found before anything is called. */
export class PolicyRefused extends Data.TaggedError("PolicyRefused")<{
  readonly dependency: string
  readonly why: string
}> {
  override get message() {
    return `breaker ${this.dependency}: ${this.why}`
  }
}

interface Entry {
  readonly policy: Circuit.Policy
  circuit: Circuit.Circuit
}

const transitions = Metric.counter("cribwork_breakers_transitions_total", {
  description: "Changes of state of a breaker.",
  incremental: true
})
const refusals = Metric.counter("cribwork_breakers_refusals_total", {
  description: "Calls that a breaker refused.",
  incremental: true
})
const staleResults = Metric.counter("cribwork_breakers_stale_results_total", {
  description: "Outcomes that came after their breaker had moved on.",
  incremental: true
})

const make = (options: Options) =>
  Effect.gen(function* () {
    yield* Effect.fromResult(checked("any", policyOf(options, {})))
    const entries = new Map<string, Entry>()

    const entryOf = (dependency: Dependency): Effect.Effect<Entry> =>
      Effect.suspend(() => {
        const known = entries.get(dependency.name)
        if (known !== undefined) return Effect.succeed(known)
        const policy = policyOf(options, dependency.policy)
        return Effect.map(Effect.orDie(Effect.fromResult(checked(dependency.name, policy))), () => {
          if (entries.size >= circuitsMax) forgetOne(entries)
          const entry: Entry = { policy, circuit: Circuit.initial }
          entries.set(dependency.name, entry)
          return entry
        })
      })

    const settle = (dependency: Dependency, entry: Entry, generation: number, outcome: Circuit.Outcome) =>
      Effect.suspend(() => {
        const { circuit } = entry
        if (generation !== circuit.generation) return count(staleResults, { dependency: dependency.name })
        // The way of nearly every call asks for neither time nor chance.
        if (circuit._tag === "Closed" && circuit.failures === 0 && outcome._tag !== "Failure") return Effect.void
        return Effect.gen(function* () {
          const now = yield* monotonicMillis
          const chance = yield* Random.next
          // Read again: other calls may have settled meanwhile.
          return yield* move(
            dependency,
            entry,
            Circuit.settle(entry.circuit, entry.policy, generation, outcome, now, chance)
          )
        })
      })

    const admit = (dependency: Dependency, entry: Entry) =>
      Effect.gen(function* () {
        const now = yield* monotonicMillis
        const verdict = Circuit.admit(entry.circuit, entry.policy, now)
        if (verdict._tag === "Admitted") {
          yield* move(dependency, entry, verdict.circuit)
          return verdict.generation
        }
        yield* count(refusals, { dependency: dependency.name, reason: stateOf(entry.circuit) })
        return yield* new CircuitOpen({
          dependency: dependency.name,
          retryAfter: Duration.millis(verdict.retryAfterMillis)
        })
      })

    const call: Breaker["Service"]["call"] = (dependency, classify, effect) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(entryOf(dependency), (entry) =>
          Effect.flatMap(
            // A closed circuit lets everyone in without looking at the time.
            entry.circuit._tag === "Closed" ? Effect.succeed(entry.circuit.generation) : admit(dependency, entry),
            (generation) =>
              Effect.onExit(restore(effect), (exit) =>
                Effect.flatMap(
                  // A classifier that throws still frees the slot, and its defect surfaces.
                  Effect.onError(
                    Effect.sync(() => (isInterruption(exit) ? ignored : classify(exit))),
                    () => settle(dependency, entry, generation, ignored)
                  ),
                  (outcome) => settle(dependency, entry, generation, outcome)
                )
              )
          )
        )
      )

    const permits: Breaker["Service"]["permits"] = Effect.fnUntraced(function* (dependency) {
      const entry = yield* entryOf(dependency)
      const verdict = Circuit.admit(entry.circuit, entry.policy, yield* monotonicMillis)
      return {
        state: stateOf(entry.circuit),
        admits: verdict._tag === "Admitted",
        retryAfter: verdict._tag === "Admitted" ? Duration.zero : Duration.millis(verdict.retryAfterMillis)
      }
    })

    return Breaker.of({ call, permits })
  })

/** For those who bring their own options; programs take `layer`. */
export const layerWith = (options: Options): Layer.Layer<Breaker, PolicyRefused> => Layer.effect(Breaker, make(options))

/** A probe is given up after this long, where the dependency names no lease of its own. */
const probeLease = Duration.seconds(30)

export const layer: Layer.Layer<Breaker, PolicyRefused, Settings> = Layer.effect(
  Breaker,
  Effect.gen(function* () {
    const { breakerFailures, breakerWindow, breakerWindowCap } = yield* Settings
    return yield* make({ failuresMax: breakerFailures, window: breakerWindow, windowCap: breakerWindowCap, probeLease })
  })
)

const ignored: Circuit.Ignored = { _tag: "Ignored" }

const isInterruption = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)

/** Steps of the wall clock neither shorten nor lengthen a window. */
const monotonicMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1000n) / 1000)

const stateOf = ({ _tag }: Circuit.Circuit): Permit["state"] =>
  _tag === "Closed" ? "closed" : _tag === "Open" ? "open" : "half-open"

const count = (metric: Metric.Counter<number>, attributes: Record<string, string>) =>
  Metric.update(Metric.withAttributes(metric, attributes), 1)

/** Takes the step now, in the turn that decided it, and returns how to tell of it: fibers interleave between effects. */
const move = (dependency: Dependency, entry: Entry, to: Circuit.Circuit) => {
  const from = entry.circuit
  entry.circuit = to
  if (from._tag === to._tag) return Effect.void
  const names = { dependency: dependency.name, from: stateOf(from), to: stateOf(to) }
  const told =
    to._tag === "Open"
      ? Effect.logWarning(`${dependency.name} is not called for ${to.windowMillis} ms`)
      : to._tag === "Closed"
        ? Effect.logInfo(`${dependency.name} is called again`)
        : Effect.void
  return Effect.andThen(count(transitions, names), told)
}

const forgetOne = (entries: Map<string, Entry>) => {
  for (const [name, { circuit }] of entries) if (circuit._tag === "Closed") return entries.delete(name)
  return entries.delete(entries.keys().next().value ?? "")
}

const policyOf = (options: Options, own: Dependency["policy"]): Circuit.Policy => ({
  failuresMax: own.failuresMax ?? options.failuresMax,
  windowMillis: Duration.toMillis(own.window ?? options.window),
  windowCapMillis: Duration.toMillis(own.windowCap ?? options.windowCap),
  leaseMillis: Duration.toMillis(own.probeLease ?? options.probeLease)
})

const checked = (dependency: string, policy: Circuit.Policy): Result.Result<Circuit.Policy, PolicyRefused> => {
  const why = Circuit.contradiction(policy)
  return why === undefined ? Result.succeed(policy) : Result.fail(new PolicyRefused({ dependency, why }))
}
