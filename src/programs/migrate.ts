/** Brings the database to this code's schema, as its owner, and ends. Safe to start many times at once. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Option } from "effect"

import * as Migrations from "../layers/platform/Migrations.ts"
import { finish } from "./stacks/Launch.ts"
import { from } from "./stacks/Stack.ts"

const owner = from(
  "DATABASE_URL",
  ({ migrateUrl, databaseUrl }) => Option.orElse(migrateUrl, () => databaseUrl),
  (url) => PgClient.layer({ url, maxConnections: 1 })
)

finish("migrate", Migrations.told.pipe(Layer.provide(owner)))
