/** Why there is no embedded Postgres, in words for the person who starts a program. */
import { Data } from "effect"

export class EmbeddedPostgresError extends Data.TaggedError("EmbeddedPostgresError")<{
  /** Completes the sentence "The embedded Postgres could not …". */
  readonly step: string
  /** What to do, or what the tools said: the last lines of a log. */
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `The embedded Postgres could not ${this.step}: ${this.detail}`
  }
}

/** What went wrong inside `step`, whatever was thrown. */
export const failedAt = (step: string) => (cause: unknown) =>
  cause instanceof EmbeddedPostgresError
    ? cause
    : new EmbeddedPostgresError({ step, cause, detail: cause instanceof Error ? cause.message : String(cause) })
