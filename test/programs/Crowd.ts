/**
 * Clients who want their money's worth: each makes an intent, sends it under one key, and sends it again,
 * sometimes several times at once, until it is told how it ended. What an answer may be in the middle of
 * faults is written down here; any other is a surprise, and a surprise fails the test.
 */
import { setTimeout as pause } from "node:timers/promises"

import type { Chance } from "../support/Chance.ts"
import { type Answer, charge } from "../support/Client.ts"

export interface Intent {
  readonly key: string
  readonly order: { readonly amount: number; readonly currency: string; readonly source: string }
  /** Every final answer that was told under the key. */
  readonly told: Array<{ readonly status: number; readonly text: string }>
  /** Requests that were sent. */
  sends: number
  readonly caller: Caller
}

export interface Caller {
  readonly tenant: string
  readonly apiKey: string
}

export interface Options {
  /** Asked for each request, since a house that starts again listens elsewhere. */
  readonly url: () => string
  readonly callers: ReadonlyArray<Caller>
  readonly chance: Chance
  readonly clients: number
  readonly tokens: ReadonlyArray<string>
}

/** Long enough for the longest `Prefer: wait` below, and for a machine that does ten other things. */
const requestMillis = 12_000

export class Crowd {
  readonly intents: Array<Intent> = []
  /** Answers that nobody may get, and what was seen of them. */
  readonly surprises: Array<string> = []
  readonly seen = new Map<string, number>()
  readonly #options: Options
  readonly #clients: ReadonlyArray<Promise<void>>
  #leaving = false

  constructor(options: Options) {
    this.#options = options
    this.#clients = Array.from({ length: options.clients }, () => this.#client())
  }

  /** No new intents. Ends when each client has been told what became of its last one. */
  async leave(): Promise<void> {
    this.#leaving = true
    await Promise.all(this.#clients)
  }

  get open(): ReadonlyArray<Intent> {
    return this.intents.filter(({ told }) => told.length === 0)
  }

  async #client() {
    const { chance, callers, tokens } = this.#options
    while (!this.#leaving) {
      const intent: Intent = {
        key: chance.uuidV4(),
        order: { amount: chance.between(1, 99_999), currency: chance.one(["USD", "EUR"]), source: chance.one(tokens) },
        told: [],
        sends: 0,
        caller: chance.one(callers)
      }
      this.intents.push(intent)
      while (intent.told.length === 0) {
        const sends = chance.next() < 0.25 ? chance.between(2, 3) : 1
        const heard = await Promise.all(Array.from({ length: sends }, () => this.#send(intent)))
        // A door that is shut opens again in a second or two, not in milliseconds.
        await pause(chance.between(20, 200) * (heard.includes(true) ? 1 : 3))
      }
    }
  }

  /** Was there an answer? */
  async #send(intent: Intent): Promise<boolean> {
    const { chance, url } = this.#options
    intent.sends++
    const house = { url: url(), apiKey: intent.caller.apiKey }
    const init = { signal: AbortSignal.timeout(requestMillis) }
    const answer = await charge(house, intent.key, intent.order, chance.one([0, 1, 2, 5]), init).catch(() => undefined)
    const kind = answer === undefined ? "cut" : this.#listen(intent, answer)
    this.seen.set(kind, (this.seen.get(kind) ?? 0) + 1)
    return answer !== undefined
  }

  #listen(intent: Intent, answer: Answer): string {
    const { status, text, body, headers } = answer
    const type = String(body["type"] ?? "")
    if (status === 201 || (status === 402 && type === "/problems/card-declined")) {
      intent.told.push({ status, text })
      return String(status)
    }
    const retryAfter = headers.get("retry-after")
    const open = ["accepted", "unknown"]
    if (status === 202 && open.includes(String(body["operation_state"])) && retryAfter !== null) return "202"
    if (status === 409 && type === "/problems/operation-in-progress" && retryAfter !== null) return "409"
    if (status === 503 && away.has(type) && retryAfter !== null) return "503"
    this.surprises.push(`${intent.key} ${intent.order.source}: ${status} ${text.slice(0, 500)}`)
    return `surprise ${status}`
  }
}

/** It was asked and did not say; or it was not asked, since it is believed to be down. */
const away = new Set(["/problems/unavailable", "/problems/dependency-unavailable"])

/** Asks once more under each key, a few at a time, and gives the keys whose answer is not the one they were told. */
export const replayed = async (url: string, intents: ReadonlyArray<Intent>): Promise<ReadonlyArray<string>> => {
  const astray: Array<string> = []
  const queue = [...intents]
  const worker = async () => {
    for (let intent = queue.pop(); intent !== undefined; intent = queue.pop()) {
      const { apiKey } = intent.caller
      const again = await charge({ url, apiKey }, intent.key, intent.order)
      const [first] = intent.told
      if (again.status !== first?.status || again.text !== first.text) astray.push(`${intent.key}: ${again.text}`)
      if (again.headers.get("idempotent-replayed") !== "true") astray.push(`${intent.key}: it is not called a replay`)
      const other = await charge({ url, apiKey }, intent.key, { ...intent.order, amount: intent.order.amount + 1 })
      if (other.body["type"] !== "/problems/idempotency-key-reused") astray.push(`${intent.key}: ${other.text}`)
    }
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  return astray
}
