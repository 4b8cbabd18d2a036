/** A circuit breaker as the probes see it, so that each of them is written once. */

/** Failures in a row that open a subject, and how long it stays open: alike for all. */
export const threshold = 3
export const windowMillis = 150

export type State = "closed" | "open" | "half-open"
export type Answer = "succeeded" | "failed" | "refused" | "cancelled"

/** What is called: it may listen to a signal, and settles or does not. */
export type Work = (signal: AbortSignal) => Promise<void>

export interface Subject {
  /** Never rejects. `cancel` reaches the work where the breaker has a way for that. */
  readonly call: (work: Work, cancel?: AbortSignal) => Promise<Answer>
  readonly state: () => State | Promise<State>
  readonly close: () => void | Promise<void>
}

export type Make = () => Subject | Promise<Subject>
