/** The house as a stranger's script uses it: plain requests, and what comes back as it is. */
import { randomUUID } from "node:crypto"

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Readonly<Record<string, unknown>>
}

/** Longer than any answer of ours; a request that hangs fails its test, not the run. */
const hungMillis = 45_000

export const ask = async (url: string, init: RequestInit = {}): Promise<Answer> => {
  const response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(hungMillis), ...init })
  const text = await response.text()
  const isJson = /json/.test(response.headers.get("content-type") ?? "")
  const body = isJson ? (JSON.parse(text) as Record<string, unknown>) : {}
  return { status: response.status, headers: response.headers, text, body }
}

export const newKey = (): string => randomUUID()

export interface Order {
  readonly amount?: number
  readonly currency?: string
  readonly source: string
}

/** `POST /v1/charges`. */
export const charge = (
  house: { readonly url: string; readonly apiKey: string },
  key: string,
  order: Order,
  waitSeconds = 0,
  init: RequestInit = {}
): Promise<Answer> =>
  ask(`${house.url}/v1/charges`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${house.apiKey}`,
      "idempotency-key": key,
      "content-type": "application/json",
      ...(waitSeconds === 0 ? {} : { prefer: `wait=${waitSeconds}` })
    },
    body: JSON.stringify({ amount: 1050, currency: "USD", ...order }),
    ...init
  })

/** Under the same door: a path, with the key. */
export const see = (house: { readonly url: string; readonly apiKey: string }, path: string): Promise<Answer> =>
  ask(`${house.url}${path}`, { headers: { authorization: `Bearer ${house.apiKey}` } })
