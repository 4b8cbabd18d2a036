import { chargesSuite } from "./Charges.suite.ts"
import { memory, sql } from "./stacks.ts"

chargesSuite("memory", memory, { excludeTestServices: false })
chargesSuite("embedded Postgres", sql, { excludeTestServices: true })
