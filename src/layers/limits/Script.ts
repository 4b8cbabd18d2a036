/** A Lua script that lies beside its adapter. Redis may forget it at any time, and is then told it once more. */
import { hash } from "node:crypto"
import { readFileSync } from "node:fs"

import type { Client } from "../platform/RedisClient.ts"

export class Script<Answer> {
  readonly #text: string
  readonly #sha: string

  constructor(file: string) {
    this.#text = readFileSync(new URL(file, import.meta.url), "utf8")
    this.#sha = hash("sha1", this.#text)
  }

  /** A script that was not there did not run, so that telling it charges nothing twice. */
  run(client: Client, keys: ReadonlyArray<string>, values: ReadonlyArray<string | number>): Promise<Answer> {
    return (client.evalsha(this.#sha, keys.length, ...keys, ...values) as Promise<Answer>).catch((error: unknown) => {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error
      return client.eval(this.#text, keys.length, ...keys, ...values) as Promise<Answer>
    })
  }
}
