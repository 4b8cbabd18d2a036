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

/** A key without room, and how long it has none. */
export interface Full {
  readonly policy: PolicyName
  readonly waitMicros: number
}

interface Denial {
  readonly full: Arr.NonEmptyReadonlyArray<Full>
  readonly sent: number
  readonly answered: number
  readonly until: number
  answer: Exit.Exit<never, LimiterError> | undefined
  /** Until when that answer is good for all: it is made afresh, and sooner if a key it names has room by then. */
  fresh: number
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
    full: Arr.NonEmptyReadonlyArray<Full>,
    at: { readonly sent: number; readonly answered: number }
  ): void {
    const longest = Math.max(...full.map(({ waitMicros }) => waitMicros))
    const until = at.sent + Math.min(longest, believedMicros)
    if (this.#max === 0 || until <= at.answered) return
    for (const [oldest] of this.#denials) {
      if (this.#denials.size < this.#max) break
      this.#denials.delete(oldest)
    }
    const denial: Denial = { full, ...at, until, answer: undefined, fresh: Number.NEGATIVE_INFINITY }
    this.#denials.set(textOf(ask, names), denial)
  }

  clear(): void {
    if (this.#denials.size === 0) return
    this.#denials.clear()
    this.#ofAsk = new WeakMap()
  }
}

const told = (denial: Denial, now: number): Exit.Exit<never, LimiterError> => {
  if (denial.answer !== undefined && now < denial.fresh) return denial.answer
  const { answered, sent } = denial
  const still = denial.full.filter(({ waitMicros }) => now < sent + waitMicros)
  const [first = denial.full[0], ...others] = still
  const wait = Math.max(first.waitMicros, ...others.map(({ waitMicros }) => waitMicros))
  const named = [first.policy, ...others.map(({ policy }) => policy)] as const
  const answer = Exit.fail(rateLimited(named, answered + wait - now, "denied-cache"))
  denial.answer = answer
  denial.fresh = Math.min(now + sharedMicros, ...still.map(({ waitMicros }) => sent + waitMicros))
  return answer
}

/** The same keys under the same limits for the same cost. A name holds no line break. */
const textOf = ({ cost, keys }: Ask, names: ReadonlyArray<string>): string => {
  let text = `${cost}`
  for (let place = 0; place < names.length; place++) text += `\n${names[place]}\n${keys[place]?.policy.limit}`
  return text
}
