/** What one run of `servers` tells the next: which ports were chosen and which processes were started. */
import * as fs from "node:fs"
import * as path from "node:path"

import { Schema } from "effect"

import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import type { Name } from "./Server.ts"

const Entry = Schema.Struct({
  ports: Schema.Record(Schema.String, Schema.Int),
  pids: Schema.optionalKey(Schema.Array(Schema.Int))
})

const Notebook = Schema.Struct({
  postgres: Schema.optionalKey(Entry),
  redis: Schema.optionalKey(Entry),
  "redis-cluster": Schema.optionalKey(Entry),
  kafka: Schema.optionalKey(Entry)
})

type Written = typeof Notebook.Type

const NotebookText = Schema.fromJsonString(Notebook)

const fileOf = (home: Home) => path.join(home.dir, "servers.json")

/** A record that cannot be read counts as lost: processes are found by what they run, ports are chosen anew. */
export const readRecord = (home: Home): Written => {
  try {
    return Schema.decodeSync(NotebookText)(fs.readFileSync(fileOf(home), "utf8"))
  } catch {
    return {}
  }
}

export const record = (home: Home, name: Name, entry: typeof Entry.Type): void =>
  writeWhole(fileOf(home), Schema.encodeSync(NotebookText)({ ...readRecord(home), [name]: entry }))
