/** `cribwork payments`: charges as they stand, and those that need somebody to look at them. */
import { Effect } from "effect"
import { Argument, Command } from "effect/cli"

import * as Settings from "../../layers/platform/Settings.ts"
import { apiClient } from "./ApiClient.ts"
import { chargeFacts } from "./ChargeFacts.ts"
import { deadLetters } from "./DeadLetters.ts"
import * as Printer from "./Printer.ts"
import { facts } from "./Table.ts"

const show = Command.make(
  "show",
  { id: Argument.String("charge-id").pipe(Argument.withDescription("The charge's id")) },
  Effect.fnUntraced(function* ({ id }) {
    const { ask } = yield* apiClient
    const charge = yield* ask((api) => api.charges.find({ params: { id } }))
    yield* Printer.answer(charge, facts(chargeFacts(charge)))
  })
).pipe(
  Command.provide(Settings.layer),
  Command.withShortDescription("Show a charge as it stands"),
  Command.withDescription("Shows a charge of the key's tenant as it stands. Needs the scope charges:read.")
)

export const payments = Command.make("payments").pipe(
  Command.withShortDescription("Look at charges, and at those that are stuck"),
  Command.withDescription("Charges and dead letters, over HTTP: CRIBWORK_URL says where, CRIBWORK_API_KEY who asks."),
  Command.withSubcommands([show, deadLetters]),
  Command.withGlobalFlags([Printer.json])
)
