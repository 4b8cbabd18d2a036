/** `cribwork payments dlq`: charges whose attempts are spent, and how they are sent on again. */
import { Effect, Option, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"

import type { DeadLetter } from "../../domain/api/DeadLettersApi.ts"
import { pageDefault } from "../../domain/api/Paging.ts"
import { Cursor, pageMax } from "../../domain/Cursor.ts"
import * as Settings from "../../layers/platform/Settings.ts"
import { apiClient } from "./ApiClient.ts"
import { amount, chargeFacts } from "./ChargeFacts.ts"
import * as Printer from "./Printer.ts"
import { reason } from "./Reason.ts"
import { NotAllRedriven, redriveAll, redriveSome, RedriveWhat, type Redriven } from "./Redrive.ts"
import { facts, table, time } from "./Table.ts"

type Letter = typeof DeadLetter.Type

const errorShownMax = 60
const cut = (text: string) => (text.length > errorShownMax ? `${text.slice(0, errorShownMax - 1)}…` : text)

const list = Command.make(
  "list",
  {
    limit: Flag.Int("limit").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: pageMax }))),
      Flag.withDefault(pageDefault),
      Flag.withDescription(`Rows of the page, 1 to ${pageMax}; ${pageDefault} when left out`)
    ),
    cursor: Flag.String("cursor").pipe(
      Flag.withSchema(Cursor),
      Flag.optional,
      Flag.withDescription("Where the page before ended, as it said")
    )
  },
  Effect.fnUntraced(function* ({ limit, cursor }) {
    const { ask } = yield* apiClient
    const page = yield* ask((api) =>
      api.deadLetters.list({ query: { limit, ...(Option.isSome(cursor) ? { cursor: cursor.value } : {}) } })
    )
    yield* Printer.answer(
      page,
      table(
        ["id", "tenant", "amount", "class", "attempts", "buried", "error"],
        page.data.map((letter) => [
          letter.id,
          letter.tenant,
          amount(letter.charge),
          letter.class,
          String(letter.attempts),
          time(letter.buried_at),
          cut(letter.error)
        ])
      )
    )
    if (page.next_cursor !== null) yield* Printer.remark(`\nMore with --cursor ${page.next_cursor}`)
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("List dead letters"),
  Command.withDescription("Lists dead letters of all tenants, newest first.")
)

const text = (letter: Letter): string =>
  [
    facts([
      ["dead letter", letter.id],
      ["tenant", letter.tenant],
      ["class", letter.class],
      ["error", letter.error],
      ["attempts", String(letter.attempts)],
      ["buried", time(letter.buried_at)],
      ["key", letter.idempotency_key],
      ["provider key", letter.psp_key],
      ...chargeFacts(letter.charge)
    ]),
    "",
    table(
      ["attempt", "started", "finished", "class", "error"],
      letter.history.map((attempt) => [
        String(attempt.number),
        time(attempt.started_at),
        attempt.finished_at === null ? "-" : time(attempt.finished_at),
        attempt.class,
        attempt.error ?? "-"
      ])
    )
  ].join("\n")

const show = Command.make(
  "show",
  { id: Argument.String("id").pipe(Argument.withDescription("The dead letter's id or its charge's")) },
  Effect.fnUntraced(function* ({ id }) {
    const { ask } = yield* apiClient
    const letter = yield* ask((api) => api.deadLetters.find({ params: { id } }))
    yield* Printer.answer(letter, text(letter))
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("Show a dead letter with its history"),
  Command.withDescription("Shows a dead letter, its charge, and every attempt to have it captured.")
)

const told = ({ redriven, refused, missing }: Redriven): string =>
  [
    `${redriven.length} sent on again`,
    ...(refused.length > 0
      ? [`${refused.length} refused, since they may have been charged: ${refused.join(" ")}`]
      : []),
    ...(missing.length > 0 ? [`${missing.length} are no dead letters: ${missing.map(cut).join(" ")}`] : [])
  ].join("\n")

const redrive = Command.make(
  "redrive",
  {
    ids: Argument.String("id").pipe(
      Argument.variadic(),
      Argument.withDescription("Ids of dead letters or of their charges")
    ),
    all: Flag.Boolean("all").pipe(Flag.withDefault(false), Flag.withDescription("All of them, newest first")),
    limit: Flag.Int("limit").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
      Flag.optional,
      Flag.withDescription("With --all: so many at most")
    ),
    evidence: Flag.Boolean("after-evidence").pipe(
      Flag.withDefault(false),
      Flag.withDescription("You looked at the provider, and vouch that these were not charged")
    ),
    reason
  },
  Effect.fnUntraced(function* ({ ids, all, limit, evidence, reason }) {
    if (all === ids.length > 0 || (Option.isSome(limit) && !all)) return yield* new RedriveWhat()
    const { ask } = yield* apiClient
    const how = { evidence, reason }
    const done = yield* all ? redriveAll(ask, Option.getOrUndefined(limit), how) : redriveSome(ask, ids, how)
    yield* Printer.answer(done, told(done))
    if (done.refused.length + done.missing.length > 0) return yield* new NotAllRedriven(done)
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("Send dead letters to the provider again"),
  Command.withDescription(
    "Sends dead letters to the provider again, under the same key. What may have been charged is refused once the provider no longer dedupes, unless you vouch for it."
  ),
  Command.withExamples([
    { command: 'cribwork payments dlq redrive 01a2b3c4-… --reason "the provider is back"' },
    { command: 'cribwork payments dlq redrive --all --limit 100 --reason "the provider is back"' }
  ])
)

export const deadLetters = Command.make("dlq").pipe(
  Command.withShortDescription("Dead letters: list, show, redrive"),
  Command.withDescription(
    "Charges whose attempts are spent. Needs the scope payments:admin, which operators' keys hold."
  ),
  Command.withSubcommands([list, show, redrive])
)
