/** What is compared: something that decides under several keys at once, on one Redis, through clients as they come. */
import type { Effect } from "effect"

/** From the widest to the narrowest: tenant, user, route. Each segment narrows the one before. */
export type Segments = readonly [string, ...ReadonlyArray<string>]

export interface Verdict {
  readonly allowed: boolean
  /** When a refused caller is told to come back. */
  readonly waitMillis: number
  /** Decided without Redis, since that did not answer in time. */
  readonly alone?: boolean
}

/** In the manner that is its own, so that nobody pays for a bridge. */
export type Decide =
  | { readonly promise: (segments: Segments) => Promise<Verdict> }
  | { readonly effect: (segments: Segments) => Effect.Effect<Verdict> }

export interface Contender {
  /** Decides under as many keys as there are limits: the first segment, the first two, and so on. */
  readonly decide: (limits: ReadonlyArray<number>, windowMillis: number) => Promise<Decide>
  readonly close: () => Promise<void>
}

/** `hasty` is as in production; otherwise a slow machine is waited for, so that it is Redis that decides. */
export type Open = (port: number, hasty: boolean) => Promise<Contender>

export const granted: Verdict = { allowed: true, waitMillis: 0 }

/** What one call a key makes of one decision: allowed when every key allows it. */
export const together = (verdicts: ReadonlyArray<Verdict>): Verdict => {
  let waitMillis = 0
  let allowed = true
  for (const verdict of verdicts) {
    if (verdict.allowed) continue
    allowed = false
    waitMillis = Math.max(waitMillis, verdict.waitMillis)
  }
  return allowed ? granted : { allowed, waitMillis }
}

/** `tenant`, `tenant:user`, `tenant:user:route`. */
export const keyOf = (segments: Segments, place: number): string => segments.slice(0, place + 1).join(":")
