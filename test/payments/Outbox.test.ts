import { outboxSuite } from "./Outbox.suite.ts"
import { memory, sql } from "./stacks.ts"

outboxSuite("memory", memory, { excludeTestServices: false })
outboxSuite("embedded Postgres", sql, { excludeTestServices: true })
