/** Servers that others run. A program whose server is not named does not start, and none changes the schema. */
import { Layer } from "effect"

import * as GuardedPostgres from "../../layers/platform/GuardedPostgres.ts"
import * as Migrations from "../../layers/platform/Migrations.ts"
import * as Postgres from "../../layers/platform/Postgres.ts"
import * as SideDoor from "../../layers/platform/SideDoor.ts"
import * as Sql from "./Sql.ts"
import { from, type Stack } from "./Stack.ts"

const database = from("DATABASE_URL", Sql.databaseUrl, (url) =>
  Layer.merge(GuardedPostgres.layer.pipe(Layer.provide(Postgres.layer(url))), SideDoor.layer(url))
)

/** Fails unless `migrate` has brought the database to this code's schema. */
const migrated = Layer.effectDiscard(Migrations.verify()).pipe(Layer.provideMerge(database))

export const stack = {
  books: Sql.books.pipe(Layer.provide(migrated)),
  limiter: Sql.limiter,
  bus: Sql.kafka,
  provider: Sql.provider
} satisfies Stack<unknown>
