import { describeLive } from "../support/Live.ts"
import { outboxSuite } from "./Outbox.suite.ts"
import { liveSql, memory, sql } from "./stacks.ts"

outboxSuite("memory", memory, { excludeTestServices: false })
outboxSuite("embedded Postgres", sql, { excludeTestServices: true })
describeLive("Outbox (live)", ["postgres"], ({ postgres }) => {
  outboxSuite("live Postgres", liveSql(postgres), { excludeTestServices: true })
})
