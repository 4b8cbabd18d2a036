/** What an answer of the provider means: for the command, for its history, and for the provider's breaker. */
import { Exit, Match, Option } from "effect"
import type { Duration } from "effect"

import { Unknown } from "./Psp.ts"
import type { Capture, Captured, Declined, PspError } from "./Psp.ts"

/** The word under which an attempt is kept, and by which the worker decides what comes next. */
export type PspClass = "not_sent" | "busy" | "declined" | "invalid" | "captured" | "unknown"

type Verdict = Captured | PspError["reason"]

export const classOf: (verdict: Verdict) => PspClass = Match.type<Verdict>().pipe(
  Match.tagsExhaustive({
    NotSent: () => "not_sent" as const,
    Busy: () => "busy" as const,
    Declined: () => "declined" as const,
    Invalid: () => "invalid" as const,
    Captured: () => "captured" as const,
    Unknown: () => "unknown" as const
  })
)

/** A success about other money than ours is no success: somebody has to look at it. */
export const judge = (
  command: Pick<Capture, "amount" | "currency">,
  found: Captured | Declined
): Captured | Declined | Unknown =>
  found._tag === "Declined" || (found.amount === command.amount && found.currency === command.currency)
    ? found
    : new Unknown({
        evidence: `captured ${found.amount} ${found.currency} as ${found.ref}, not ${command.amount} ${command.currency}`
      })

/** What a call showed about the provider itself; the shape in which a breaker's classifier answers. */
export type Health =
  | { readonly _tag: "Success" }
  | { readonly _tag: "Failure"; readonly retryAfter?: Duration.Duration | undefined }
  | { readonly _tag: "Ignored" }

/**
 * A provider that says no is healthy. Our own pace (429) is the command's business, which honours its
 * `Retry-After`, and would close the door on every other tenant. A defect is our bug and shows nothing.
 */
export const health = (exit: Exit.Exit<unknown, PspError>): Health => {
  if (Exit.isSuccess(exit)) return { _tag: "Success" }
  return Option.match(Exit.findErrorOption(exit), {
    onNone: (): Health => ({ _tag: "Ignored" }),
    onSome: ({ reason }): Health => {
      switch (reason._tag) {
        case "Declined":
        case "Invalid":
          return { _tag: "Success" }
        case "Busy":
          return reason.limited
            ? { _tag: "Ignored" }
            : { _tag: "Failure", retryAfter: Option.getOrUndefined(reason.retryAfter) }
        case "NotSent":
        case "Unknown":
          return { _tag: "Failure" }
      }
    }
  })
}
