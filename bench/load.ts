/**
 * The load, in a process of its own: `connections` sockets, each with one request outstanding. Over `node:net`
 * and not a client of HTTP, because on two cores a heavy generator measures itself: this one costs about a
 * tenth of what it asks a server to do. Every answer is checked; one that is not as expected ends the run.
 */
import { randomUUID } from "node:crypto"
import { connect } from "node:net"

import { cpuMicros } from "./Machine.ts"

export interface Slice {
  readonly port: number
  readonly connections: number
  readonly tokens: ReadonlyArray<string>
  readonly kind: "get" | "charge"
  /** The path of a get. */
  readonly path: string
  /** Requests offered a second, whatever is answered; left out, each connection asks as soon as it was answered. */
  readonly paced?: {
    readonly perSecond: number
    /** Every so many requests one is this key's, which may be refused. */
    readonly every: number
    readonly refusable: string
  }
  readonly warmMillis: number
  readonly millis: number
  /** Whose CPU to read, by group: a process alone, or with all it started. */
  readonly watched: Readonly<Record<string, { readonly pid: number; readonly family: boolean }>>
}

export interface Measured {
  readonly requests: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  /** Of all requests, warming included: answered under the refusable key, and refused. */
  readonly refusable: number
  readonly refused: number
  /** CPU microseconds in the window, by group; `generator` is this process. */
  readonly cpu: Readonly<Record<string, number>>
}

export type Said = { readonly measured: Measured } | { readonly failed: string }

const body = JSON.stringify({ amount: 1050, currency: "USD", source: "tok_visa", description: "two coffees" })

/** A get is one text for ever, a charge has a key of its own each time. */
const requests = ({ kind, path }: Slice, token: string): (() => string) => {
  const common = `host: localhost\r\nauthorization: Bearer ${token}\r\n`
  const get = `GET ${path} HTTP/1.1\r\n${common}\r\n`
  if (kind === "get") return () => get
  const head = `POST /v1/charges HTTP/1.1\r\n${common}content-type: application/json\r\ncontent-length: ${body.length}\r\nidempotency-key: `
  return () => `${head}${randomUUID()}\r\n\r\n${body}`
}

/** Bytes of the first answer in `text`; 0 when it is not whole. */
const lengthOf = (text: string): number => {
  const head = text.indexOf("\r\n\r\n")
  if (head === -1) return 0
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head))?.[1]
  if (length === undefined) throw new Error(`an answer without a length: ${text.slice(0, 300)}`)
  const whole = head + 4 + Number(length)
  return text.length >= whole ? whole : 0
}

const run = (slice: Slice): Promise<Measured> =>
  new Promise((resolve, reject) => {
    const expected = slice.kind === "get" ? "HTTP/1.1 200 " : "HTTP/1.1 202 "
    const latencies: Array<number> = []
    let measuring = false
    const { paced } = slice
    const refusing = paced === undefined ? undefined : requests(slice, paced.refusable)
    const idle: Array<(due: number, refusable: boolean) => void> = []
    const begun = performance.now()
    let offered = 0
    let refusable = 0
    let refused = 0
    /** Sends what is due, each from the moment it was: a late one waited, also when nobody took it. */
    const pump = () => {
      if (paced === undefined) return
      while (idle.length > 0 && offered < ((performance.now() - begun) * paced.perSecond) / 1000) {
        const isRefusable = offered % paced.every === 0
        // In turn: a connection without a request would be closed for that.
        idle.shift()?.(begun + (offered++ * 1000) / paced.perSecond, isRefusable)
      }
    }
    const pumping = setInterval(pump, 1)
    const sockets = Array.from({ length: slice.connections }, (_, place) => {
      const next = requests(slice, slice.tokens[place % slice.tokens.length] as string)
      const socket = connect(slice.port, "127.0.0.1").setNoDelay(true)
      let heard = ""
      let asked = 0
      let mayRefuse = false
      const send = (due: number, isRefusable: boolean) => {
        asked = due
        mayRefuse = isRefusable
        socket.write(isRefusable && refusing !== undefined ? refusing() : next(), "latin1")
      }
      const ask = () => {
        if (paced === undefined) send(performance.now(), false)
        else {
          idle.push(send)
          pump()
        }
      }
      socket.setEncoding("latin1")
      socket.on("connect", ask)
      socket.on("error", reject)
      socket.on("data", (chunk: string) => {
        heard = heard === "" ? chunk : heard + chunk
        const length = lengthOf(heard)
        if (length === 0) return
        const isRefusal = mayRefuse && heard.startsWith("HTTP/1.1 429 ")
        if (mayRefuse) refusable++
        if (isRefusal) refused++
        if ((!isRefusal && !heard.startsWith(expected)) || heard.length !== length) {
          reject(new Error(`expected ${expected}, got ${heard.slice(0, 600)}`))
          return
        }
        heard = ""
        if (measuring) latencies.push(performance.now() - asked)
        ask()
      })
      return socket
    })

    const cpu = () => ({
      ...Object.fromEntries(
        Object.entries(slice.watched).map(([group, { family, pid }]) => [group, cpuMicros(pid, family)])
      ),
      generator: cpuMicros(process.pid, false)
    })
    setTimeout(() => {
      const before: Record<string, number> = cpu()
      const since = performance.now()
      measuring = true
      setTimeout(() => {
        measuring = false
        const seconds = (performance.now() - since) / 1000
        const after: Record<string, number> = cpu()
        clearInterval(pumping)
        for (const socket of sockets) socket.destroy()
        latencies.sort((a, b) => a - b)
        const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0
        resolve({
          requests: latencies.length,
          seconds,
          p50: at(0.5),
          p99: at(0.99),
          refusable,
          refused,
          cpu: Object.fromEntries(
            Object.entries(after).map(([group, micros]) => [group, micros - (before[group] ?? 0)])
          )
        })
      }, slice.millis)
    }, slice.warmMillis)
  })

process.on("message", (slice: Slice) => {
  run(slice).then(
    (measured) => process.send?.({ measured } satisfies Said),
    (error: unknown) => process.send?.({ failed: String(error) } satisfies Said)
  )
})
process.on("disconnect", () => process.exit(0))
