/** Everything a command may fail with, and what that means to whoever started it. A missing row does not compile. */
import { Cause, type Config, Match } from "effect"
import type { CliError } from "effect/cli"

import type { KeyNotFound, OperatorOnly } from "../../domain/access/ApiKeys.ts"
import type { AccessUnavailable } from "../../domain/access/AuditLog.ts"
import type { MigrationsError } from "../../layers/platform/Migrations.ts"
import type { WrongSettings } from "../../layers/platform/Settings.ts"
import type { ApiFailure, ApiRefused } from "./ApiClient.ts"
import type { ExitName } from "./ExitCode.ts"
import type { DatabaseUnusable, NoDatabase } from "./KeyDesk.ts"
import type { ForceHowLong } from "./Lasting.ts"
import type { NotAllRedriven, RedriveWhat } from "./Redrive.ts"

export type Failure =
  | AccessUnavailable
  | ApiFailure
  | CliError.CliError
  | Config.ConfigError
  | DatabaseUnusable
  | ForceHowLong
  | KeyNotFound
  | MigrationsError
  | NoDatabase
  | NotAllRedriven
  | OperatorOnly
  | RedriveWhat
  | WrongSettings

/** `error` is a word for programs; `members` are what they may need beside it. */
export interface Told {
  readonly exit: ExitName
  readonly error: string
  readonly message: string
  readonly members?: object
}

/** Widens a row to what all rows are. */
const row = (told: Told): Told => told

const as =
  (exit: ExitName, error: string) =>
  ({ message }: Error): Told => ({ exit, error, message })

/** Its errors are ours to show; without any, help was all there was to say. */
const usage = ({ commandPath, errors }: CliError.ShowHelp): Told => ({
  exit: errors.length > 0 ? "misused" : "done",
  error: "usage",
  message:
    errors.length > 0
      ? `${errors.map(({ message }) => message).join("\n  ")}\n\nSee \`${commandPath.join(" ")} --help\`.`
      : ""
})

const refused = ({ message, problem, problemName }: ApiRefused): Told => ({
  exit: exitOfStatus(problem.status),
  error: problemName,
  message,
  members: { request_id: problem.request_id ?? null, problem }
})

const exitOfStatus = (status: number): ExitName => {
  switch (status) {
    case 401:
    case 403:
      return "refused"
    case 404:
      return "missing"
    case 408:
    case 429:
    case 503:
    case 504:
      return "unavailable"
    default:
      return status >= 500 ? "failed" : "misused"
  }
}

export const toldOf: (failure: Failure) => Told = Match.type<Failure>().pipe(
  Match.tagsExhaustive({
    AccessUnavailable: ({ cause }) =>
      row({
        exit: "unavailable",
        error: "database-unreachable",
        message: `The database did not answer: ${cause instanceof Error ? cause.message : String(cause)}`
      }),
    ApiRefused: refused,
    ApiUnreachable: as("unavailable", "api-unreachable"),
    ConfigError: as("misused", "wrong-settings"),
    DatabaseUnusable: (failure) =>
      failure.isNeverMigrated
        ? as("failed", "wrong-schema")(failure)
        : as("unavailable", "database-unreachable")(failure),
    DuplicateOption: as("misused", "usage"),
    ForceHowLong: as("misused", "usage"),
    InvalidValue: as("misused", "usage"),
    KeyNotFound: ({ id }) => row({ exit: "missing", error: "key-not-found", message: `There is no key ${id}.` }),
    MigrationsError: as("failed", "wrong-schema"),
    MissingArgument: as("misused", "usage"),
    MissingOption: as("misused", "usage"),
    NoDatabase: as("misused", "no-database"),
    NotAllRedriven: (failure) =>
      row({
        exit: failure.refused.length > 0 ? "refused" : "missing",
        error: "not-all-redriven",
        message: failure.message
      }),
    NotTheApi: as("failed", "not-the-api"),
    OperatorOnly: ({ scopes }) =>
      row({
        exit: "refused",
        error: "operator-only",
        message: `Only operators' keys may hold ${scopes.join(", ")}: say --operator if this is one.`
      }),
    RedriveWhat: as("misused", "usage"),
    ShowHelp: usage,
    UnexpectedArgument: as("misused", "usage"),
    UnknownSubcommand: as("misused", "usage"),
    UnrecognizedOption: as("misused", "usage"),
    UserError: as("failed", "failed"),
    ValidationError: as("misused", "usage"),
    WrongSettings: as("misused", "wrong-settings")
  })
)

/** Ours to mend: the trace goes with it. */
export const toldOfBug = (cause: Cause.Cause<unknown>): Told => ({
  exit: "failed",
  error: "bug",
  message: `A bug, please report it:\n${Cause.pretty(cause)}`
})
