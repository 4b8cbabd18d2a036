/**
 * The breakers of this process. Two processes do not see each other, each finds out alone. No timer and no
 * fiber of its own while nothing is in flight: an open circuit costs nothing until somebody calls. Holds at
 * most `gatesMax` dependencies; beyond that one goes that is closed and was not called for a while.
 */
import { Context, Duration, Effect, Exit, Layer, PubSub, Result, Stream } from "effect"
import type { Fiber } from "effect"

import { Breaker, type State } from "../../domain/breakers/Breaker.ts"
import { Breakers, PolicyRefused } from "../../domain/breakers/Breakers.ts"
import type { Force, Snapshot, Transition } from "../../domain/breakers/Breakers.ts"
import type { Dependency, Policy } from "../../domain/breakers/Dependency.ts"
import * as OpenWindow from "../../domain/breakers/OpenWindow.ts"
import * as Terms from "../../domain/breakers/Terms.ts"
import * as Deadlines from "../platform/Deadlines.ts"
import { Settings } from "../platform/Settings.ts"
import * as Calls from "./Calls.ts"
import { Gate } from "./Gate.ts"
import { Counts } from "./Signals.ts"

/** Names of dependencies are written in code; this is a backstop against one that was made from input. */
const gatesMax = 1000

/** State changes that a slow reader may lag behind; of more it misses the oldest. */
const changesMax = 256

/** The defaults are checked by themselves: whatever a dependency says, it needs a timeout. */
const anyCall = { timeout: Duration.seconds(1) }

const make = (defaults: Terms.Defaults) =>
  Effect.gen(function* () {
    yield* Effect.fromResult(checked("any", Terms.resolve(defaults, anyCall)))
    const gates = new Map<string, Gate>()
    /** Dependencies of one policy share its terms. */
    const resolved = new WeakMap<Policy, Terms.Terms>()
    /** Orders for dependencies that are not declared yet. */
    const orders = new Map<string, Force>()
    const changes = yield* PubSub.sliding<Transition>(changesMax)
    const context = yield* Effect.context<never>()
    const counts = new Counts(context)
    const run = Effect.runForkWith(context)

    const told = (transition: Transition) => {
      PubSub.publishUnsafe(changes, transition)
      const { dependency, from, to, why } = transition
      const log = to.endsWith("open") && to !== "half-open" ? Effect.logWarning : Effect.logInfo
      run(log(`breaker ${dependency}: ${from} to ${to}, ${why}`))
    }

    const declared = (
      dependency: Dependency,
      fiber: Fiber.Fiber<unknown, unknown>
    ): Result.Result<Gate, PolicyRefused> => {
      const known = gates.get(dependency.name)
      if (known?.dependency === dependency) return Result.succeed(known)
      const terms = resolved.get(dependency.policy) ?? Terms.resolve(defaults, dependency.policy)
      resolved.set(dependency.policy, terms)
      if (known !== undefined) {
        return isSame(known.terms, terms) ? Result.succeed(known) : Result.fail(declaredTwice(dependency))
      }
      return Result.map(checked(dependency.name, terms), () => {
        if (gates.size >= gatesMax) forgetOne(gates)
        const gate = new Gate(dependency, terms, counts, told)
        gates.set(dependency.name, gate)
        gate.force(orders.get(dependency.name), fiber)
        orders.delete(dependency.name)
        return gate
      })
    }

    const gateOf = (dependency: Dependency, fiber: Fiber.Fiber<unknown, unknown>): Gate => {
      const known = gates.get(dependency.name)
      return known?.dependency === dependency ? known : Result.getOrThrow(declared(dependency, fiber))
    }

    const force: Breakers["Service"]["force"] = (name, order) =>
      Effect.withFiber((fiber) => {
        const gate = gates.get(name)
        if (gate !== undefined) gate.force(order, fiber)
        else if (order === undefined) orders.delete(name)
        else if (orders.size < gatesMax) orders.set(name, order)
        return Effect.void
      })

    const breakers = Breakers.of({
      declare: (dependency) =>
        Effect.withFiber((fiber) => Effect.asVoid(Effect.fromResult(declared(dependency, fiber)))),
      snapshots: Effect.withFiber((fiber) => Effect.succeed(culpritsFirst([...gates.values()], fiber))),
      force,
      forget: (name) =>
        Effect.sync(() => {
          const order = gates.get(name)?.order
          if (order !== undefined && orders.size < gatesMax) orders.set(name, order)
          gates.delete(name)
        }),
      hint: (name, lasting) => Effect.sync(() => gates.get(name)?.hint(lasting)),
      changes: Stream.fromPubSub(changes)
    })
    const breaker = Breaker.of(Calls.make(gateOf, yield* Deadlines.make))
    return Context.make(Breaker, breaker).pipe(Context.add(Breakers, breakers))
  })

/** For those who bring their own options; programs take `layer`. */
export const layerWith = (defaults: Terms.Defaults): Layer.Layer<Breaker | Breakers, PolicyRefused> =>
  Layer.effectContext(make(defaults))

export const layer: Layer.Layer<Breaker | Breakers, PolicyRefused, Settings> = Layer.effectContext(
  Effect.gen(function* () {
    const { breakerFailures, breakerFleet, breakerWindow, breakerWindowCap } = yield* Settings
    return yield* make({
      failuresMax: breakerFailures,
      fleet: breakerFleet,
      window: breakerWindow,
      windowCap: breakerWindowCap
    })
  })
)

/**
 * Second chance: the first that is closed and was not called since it was last looked at, while those that were go
 * to the back of the line. Nearly the one that is idle for longest, without a time kept of each call.
 */
const forgetOne = (gates: Map<string, Gate>) => {
  let chances = 2 * gates.size
  // Who is put back comes up again at the end of the same loop.
  for (const [name, gate] of gates) {
    gates.delete(name)
    if (gate.isForgettable() || chances-- <= 0) return
    gates.set(name, gate)
  }
}

/** Where to look first: what is open and has nothing open below it. */
const culpritsFirst = (gates: ReadonlyArray<Gate>, fiber: Fiber.Fiber<unknown, unknown>): ReadonlyArray<Snapshot> => {
  const seen = gates.map((gate) => ({ gate, snapshot: gate.snapshot(fiber) }))
  const troubled = new Set(
    seen.flatMap(({ snapshot: { dependency, state } }) => (isTrouble(state) ? [dependency] : []))
  )
  const rank = ({ gate, snapshot }: (typeof seen)[number]) =>
    !isTrouble(snapshot.state) ? 2 : [...gate.below].some((name) => troubled.has(name)) ? 1 : 0
  return seen.toSorted((a, b) => rank(a) - rank(b)).map(({ snapshot }) => snapshot)
}

const isTrouble = (state: State) => state !== "closed" && state !== "forced-closed"

const declaredTwice = ({ name }: Dependency) =>
  new PolicyRefused({ dependency: name, why: "it was declared before, with another policy" })

/** Two declarations of one dependency must mean the same; a schedule of one's own, the same schedule. */
const isSame = (one: Terms.Terms, other: Terms.Terms) => Terms.written(one) === Terms.written(other)

const unfit = ({ schedule }: Terms.Terms): string | undefined => {
  if (schedule === undefined) return undefined
  const drawn = Effect.runSyncExit(OpenWindow.delayOf(schedule, 0))
  return Exit.isSuccess(drawn) ? undefined : "its schedule waits, or fails"
}

const checked = (dependency: string, terms: Terms.Terms): Result.Result<Terms.Terms, PolicyRefused> => {
  const why = Terms.contradiction(terms) ?? unfit(terms)
  return why === undefined ? Result.succeed(terms) : Result.fail(new PolicyRefused({ dependency, why }))
}
