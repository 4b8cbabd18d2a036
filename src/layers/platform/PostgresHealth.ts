/**
 * What an exit shows about Postgres. Whatever it answered proves that it is there: a constraint, a syntax error, a
 * deadlock and a lock that was not free are the caller's affair. That it cannot be reached, lets nobody in, is
 * starting or stopping, has no room, or took too long, is not.
 *
 * Classes of SQLSTATE: https://www.postgresql.org/docs/18/errcodes-appendix.html
 */
import { Cause, Exit } from "effect"
import { SqlError } from "effect/sql"

import { BreakerError } from "../../domain/breakers/Breaker.ts"
import type { Outcome } from "../../domain/breakers/Circuit.ts"

/**
 * 08 connections, 53 resources, 57P shutdown, crash and start, 58 its disk, XX its own bugs; 25006 is a server
 * that takes no writes any more, since another one is master.
 */
const away = /^(?:08|53|57P|58|XX|25006)/

/** A chain of causes that is longer is not ours. */
const depthMax = 16

/** An error and what lies behind it, outermost first. */
const chain = (error: unknown): ReadonlyArray<Error> => {
  const all: Array<Error> = []
  let at = error
  while (at instanceof Error && all.length < depthMax) {
    all.push(at)
    at = "reason" in at && at.reason instanceof Error ? at.reason : at.cause
  }
  return all
}

const codeOf = (error: Error): string | undefined =>
  "code" in error && typeof error.code === "string" ? error.code : undefined

const isAway = ({ reason }: SqlError.SqlError): boolean => {
  switch (reason._tag) {
    case "ConnectionError":
    case "AuthenticationError":
    case "StatementTimeoutError":
      return true
    case "UnknownError":
      return chain(reason.cause).some((error) => away.test(codeOf(error) ?? ""))
    default:
      return false
  }
}

/** Also of a transaction that failed for reasons of its own: it was begun, and it was ended. */
export const classify = (exit: Exit.Exit<unknown, unknown>): Outcome => {
  if (Exit.isSuccess(exit)) return { _tag: "Success" }
  const errors = exit.cause.reasons.flatMap((reason) =>
    chain(Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined)
  )
  // Somebody else's breaker, or ours at a call beside this one.
  if (errors.some((error) => error instanceof BreakerError)) return { _tag: "Ignored" }
  const said = errors.filter((error) => error instanceof SqlError.SqlError)
  if (said.some(isAway)) return { _tag: "Failure" }
  return { _tag: said.length > 0 || exit.cause.reasons.some(Cause.isFailReason) ? "Success" : "Ignored" }
}
