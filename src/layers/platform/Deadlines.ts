/**
 * Deadlines for waits so short and so many that a timer and a racing fiber each would cost more than the
 * wait: those of equal length stand in one line, in order, and one fiber sleeps for the first that still
 * waits. It ends when the line is empty. A wait that is over leaves its line at once, so that a line holds what
 * waits and nothing else.
 */
import { Clock, Duration, Effect, Scope } from "effect"

/** One caller that waits. Whoever comes first, the answer or the deadline, ends it. */
export class Wait {
  readonly dueMillis: number
  readonly expire: () => void
  readonly #line: Line
  #before: Wait | undefined
  #after: Wait | undefined
  #over = false

  constructor(line: Line, dueMillis: number, expire: () => void) {
    this.dueMillis = dueMillis
    this.expire = expire
    this.#line = line
    this.#before = line.last
    if (line.last === undefined) line.first = this
    else line.last.#after = this
    line.last = this
  }

  get isOver(): boolean {
    return this.#over
  }

  end(): void {
    if (this.#over) return
    this.#over = true
    if (this.#before === undefined) this.#line.first = this.#after
    else this.#before.#after = this.#after
    if (this.#after === undefined) this.#line.last = this.#before
    else this.#after.#before = this.#before
    this.#before = undefined
    this.#after = undefined
  }
}

interface Line {
  first: Wait | undefined
  last: Wait | undefined
  watched: boolean
}

export interface Deadlines {
  /** Calls `expire` after `deadline`, unless the wait was ended by then. */
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
      while (line.first !== undefined) {
        const now = nowMillis()
        while (line.first !== undefined && line.first.dueMillis <= now) {
          const { first } = line
          first.end()
          first.expire()
        }
        if (line.first !== undefined) yield* Effect.sleep(Duration.millis(Math.ceil(line.first.dueMillis - now)))
      }
      line.watched = false
    })

  return {
    start: (deadline, expire) => {
      const millis = typeof deadline === "number" ? deadline : Duration.toMillis(deadline)
      let line = lines.get(millis)
      if (line === undefined) {
        line = { first: undefined, last: undefined, watched: false }
        lines.set(millis, line)
      }
      const wait = new Wait(line, nowMillis() + millis, expire)
      if (!line.watched) {
        line.watched = true
        fork(Effect.forkIn(watch(line), scope))
      }
      return wait
    }
  }
})
