/**
 * The programs of the house by another name. Each is a file that launches itself when it is loaded, so that
 * `cribwork serve` and `node api.ts` are the same process down to their signals and exit codes.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"

export const serve = Command.make("serve", {}, () => Effect.promise(() => import("../api.ts"))).pipe(
  Command.withShortDescription("Answer HTTP"),
  Command.withDescription(
    "Answers HTTP: takes charges in, tells what became of them. Needs DATABASE_URL. Start as many as you like."
  ),
  Command.withExamples([{ command: "PORT=8080 cribwork serve" }])
)

export const worker = Command.make("worker", {}, () => Effect.promise(() => import("../worker.ts"))).pipe(
  Command.withShortDescription("Carry accepted charges to the payment provider"),
  Command.withDescription(
    "Carries accepted charges to the payment provider and settles them. Needs DATABASE_URL and PSP_URL. Start as many as you like."
  )
)

export const relay = Command.make("relay", {}, () => Effect.promise(() => import("../relay.ts"))).pipe(
  Command.withShortDescription("Carry staged events to Kafka"),
  Command.withDescription(
    "Carries staged events to Kafka, in order per key. Needs DATABASE_URL and KAFKA_BROKERS. Start as many as you like."
  )
)

export const migrate = Command.make("migrate", {}, () => Effect.promise(() => import("../migrate.ts"))).pipe(
  Command.withShortDescription("Bring the database to this code's schema"),
  Command.withDescription(
    "Brings the database to this code's schema, as its owner, and ends. Needs DATABASE_URL, or MIGRATE_DATABASE_URL for the owner. Safe to start many times at once."
  )
)
