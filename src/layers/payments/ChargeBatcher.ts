/**
 * Charges that arrive while others are on their way to the store travel together in the next call, so that a
 * burst pays one commit for many. No timer: whoever finds a lane free leaves at once. What fails, for whatever
 * reason, is asked again for each alone and beside the lanes, so that one bad or slow charge costs its
 * neighbours a second call, and those behind it nothing. As many wait as there are callers.
 */
import { Array, Effect, Exit, FiberSet } from "effect"
import type { Scope } from "effect"

/**
 * One is with the store while the answers of the other are told. Two runs with a third lane cost more CPU a charge,
 * about a tenth, on a busy machine.
 */
export const lanesMax = 2
/** Beyond this the commit that is shared is a small part of the call, and everyone in it waits for the last. */
export const batchMax = 64

export interface Calls<Item, A, E, F> {
  /** Two of one name never travel together: the later one is told what became of the earlier. */
  readonly nameOf: (item: Item) => string
  /** Answers, one an item, in order; or the whole call fails. Must not wait long for any of them. */
  readonly together: (items: Array.NonEmptyReadonlyArray<Item>) => Effect.Effect<ReadonlyArray<Effect.Effect<A, E>>, F>
  /** What becomes of an item whose call failed; may wait. */
  readonly alone: (item: Item) => Effect.Effect<A, E>
}

interface Waiting<Item, A, E> {
  readonly item: Item
  readonly resume: (answer: Effect.Effect<A, E>) => void
}

/** Answers as `alone` would, in fewer calls. A caller that leaves before its call does is not in it. */
export const make = <Item, A, E, F>({
  alone,
  nameOf,
  together
}: Calls<Item, A, E, F>): Effect.Effect<(item: Item) => Effect.Effect<A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime<never, void, never>()
    const waiting = new Set<Waiting<Item, A, E>>()
    let lanes = 0

    const take = (): ReadonlyArray<Waiting<Item, A, E>> => {
      const taken = new Map<string, Waiting<Item, A, E>>()
      for (const one of waiting) {
        const name = nameOf(one.item)
        if (taken.has(name)) continue
        taken.set(name, one)
        waiting.delete(one)
        if (taken.size === batchMax) break
      }
      return [...taken.values()]
    }

    const tellAlone = ({ item, resume }: Waiting<Item, A, E>) =>
      alone(item).pipe(
        Effect.onExit((exit) => Effect.sync(() => resume(exit))),
        Effect.ignoreCause
      )

    const tell = (taken: Array.NonEmptyReadonlyArray<Waiting<Item, A, E>>): Effect.Effect<void> =>
      together(Array.map(taken, ({ item }) => item)).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            for (const [place, one] of taken.entries()) {
              if (Exit.isSuccess(exit)) one.resume(exit.value[place] ?? missing)
              else if (Exit.hasInterrupts(exit)) one.resume(Effect.interrupt)
              else run(tellAlone(one))
            }
          })
        ),
        Effect.ignoreCause
      )

    /** Ends, and frees its place, in the same breath in which it finds nobody waiting. */
    const lane: Effect.Effect<void> = Effect.suspend(() => {
      const taken = take()
      if (Array.isReadonlyArrayNonEmpty(taken)) return Effect.andThen(tell(taken), lane)
      lanes -= 1
      return Effect.void
    })

    return (item) =>
      Effect.callback<A, E>((resume) => {
        const one = { item, resume }
        waiting.add(one)
        if (lanes < lanesMax) {
          lanes += 1
          run(lane)
        }
        return Effect.sync(() => waiting.delete(one))
      })
  })

const missing = Effect.die(new Error("a call answered fewer items than it was asked"))
