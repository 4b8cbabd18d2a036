/**
 * Deadlines for waits so short and so many that a timer and a racing fiber each would cost more than the
 * wait: those of equal length stand in one line, in order, and one fiber sleeps for the first that still
 * waits. It ends when the line is empty.
 */
import { Clock, Duration, Effect, Scope } from "effect"

/** One caller that waits. `over` is set by whoever comes first, the answer or the deadline. */
export interface Wait {
  readonly dueMillis: number
  readonly expire: () => void
  over: boolean
}

interface Line {
  readonly millis: number
  waits: Array<Wait>
  watched: boolean
}

export interface Deadlines {
  /** Calls `expire` after `deadline`, unless the wait is over by then. */
  readonly start: (deadline: Duration.Input, expire: () => void) => Wait
}

export const make: Effect.Effect<Deadlines, never, Scope.Scope> = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const scope = yield* Scope.Scope
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const lines = new Map<number, Line>()
  const nowMillis = () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

  const watch = (line: Line) =>
    Effect.gen(function* () {
      while (line.waits.length > 0) {
        const now = nowMillis()
        const still = line.waits.findIndex((wait) => !wait.over && wait.dueMillis > now)
        const ended = line.waits.splice(0, still === -1 ? line.waits.length : still)
        for (const wait of ended) {
          if (wait.over) continue
          wait.over = true
          wait.expire()
        }
        const [first] = line.waits
        if (first !== undefined) yield* Effect.sleep(Duration.millis(Math.ceil(first.dueMillis - now)))
      }
      line.watched = false
    })

  return {
    start: (deadline, expire) => {
      const millis = Duration.toMillis(deadline)
      let line = lines.get(millis)
      if (line === undefined) {
        line = { millis, waits: [], watched: false }
        lines.set(millis, line)
      }
      const wait = { dueMillis: nowMillis() + millis, expire, over: false }
      line.waits.push(wait)
      if (!line.watched) {
        line.watched = true
        fork(Effect.forkIn(watch(line), scope))
      }
      return wait
    }
  }
})
