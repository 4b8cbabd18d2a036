import { describeLive } from "../support/Live.ts"
import { chargesSuite } from "./Charges.suite.ts"
import { liveSql, memory, sql } from "./stacks.ts"

chargesSuite("memory", memory, { excludeTestServices: false })
chargesSuite("embedded Postgres", sql, { excludeTestServices: true })
describeLive("Charges (live)", ["postgres"], ({ postgres }) => {
  chargesSuite("live Postgres", liveSql(postgres), { excludeTestServices: true })
})
