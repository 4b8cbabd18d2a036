/**
 * Denials that still hold: an ask that Redis refused is refused again here, without asking, for as long as it
 * cannot have changed. Nothing but time frees a unit, unless somebody gives it back: what this process gives
 * back clears all of them, and what another does is seen within `believed`.
 *
 * A denial ends early and is told late: it is believed from when it was *sent* for, and the wait it names runs
 * from when it was *answered*, so that it neither refuses what would pass nor sends anybody back too soon. What
 * others were admitted since may make the true wait longer, as it may after any answer.
 */
import { Exit } from "effect"
import type { Array as Arr } from "effect"

import type { Ask, LimiterError } from "../../domain/limits/Limiter.ts"
import type { PolicyName } from "../../domain/limits/Policy.ts"
import { rateLimited } from "./Windows.ts"

/** Longest that one is believed. */
const believedMicros = 1_000_000

/** How long one answer is good for all: it names a wait that is too long by so much. */
const sharedMicros = 100

interface Denial {
  readonly violated: Arr.NonEmptyReadonlyArray<PolicyName>
  readonly until: number
  readonly frees: number
  answer: Exit.Exit<never, LimiterError>
  madeAt: number
}

export class Denials {
  readonly #max: number
  readonly #denials = new Map<string, Denial>()
  /** Callers that ask again and again with the same ask need not spell its keys. */
  #ofAsk = new WeakMap<Ask, Denial>()

  /** Holds at most `max`; the oldest goes. */
  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#denials.size
  }

  /** The refusal of this very ask, if one holds at `now`. */
  find(ask: Ask, names: () => ReadonlyArray<string>, now: number): Exit.Exit<never, LimiterError> | undefined {
    if (this.#denials.size === 0) return undefined
    const known = this.#ofAsk.get(ask)
    if (known !== undefined && now < known.until) return told(known, now)
    const text = textOf(ask, names())
    const denial = this.#denials.get(text)
    if (denial === undefined) return undefined
    if (now >= denial.until) {
      this.#denials.delete(text)
      return undefined
    }
    this.#ofAsk.set(ask, denial)
    return told(denial, now)
  }

  note(
    ask: Ask,
    names: ReadonlyArray<string>,
    violated: Arr.NonEmptyReadonlyArray<PolicyName>,
    waitMicros: number,
    at: { readonly sent: number; readonly answered: number }
  ): void {
    const until = at.sent + Math.min(waitMicros, believedMicros)
    if (this.#max === 0 || until <= at.answered) return
    for (const [oldest] of this.#denials) {
      if (this.#denials.size < this.#max) break
      this.#denials.delete(oldest)
    }
    const frees = at.answered + waitMicros
    const answer = Exit.fail(rateLimited(violated, frees - at.answered, "denied-cache"))
    this.#denials.set(textOf(ask, names), { violated, until, frees, answer, madeAt: at.answered })
  }

  clear(): void {
    if (this.#denials.size === 0) return
    this.#denials.clear()
    this.#ofAsk = new WeakMap()
  }
}

const told = (denial: Denial, now: number): Exit.Exit<never, LimiterError> => {
  if (now >= denial.madeAt + sharedMicros) {
    denial.answer = Exit.fail(rateLimited(denial.violated, denial.frees - now, "denied-cache"))
    denial.madeAt = now
  }
  return denial.answer
}

/** The same keys under the same limits for the same cost. A name holds no line break. */
const textOf = ({ cost, keys }: Ask, names: ReadonlyArray<string>): string => {
  let text = `${cost}`
  for (let place = 0; place < names.length; place++) text += `\n${names[place]}\n${keys[place]?.policy.limit}`
  return text
}
