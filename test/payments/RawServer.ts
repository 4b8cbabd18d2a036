/** A TCP server whose every byte a test decides, for what a well-behaved HTTP server cannot be made to do. */
import { createServer } from "node:net"
import type { Socket } from "node:net"

import { Effect } from "effect"

export interface RawServer {
  readonly port: number
  readonly url: string
  /** What arrived, one text a request. */
  readonly requests: ReadonlyArray<string>
}

const whole = (text: string) => {
  const [head = "", body] = text.split("\r\n\r\n")
  if (body === undefined) return false
  return Buffer.byteLength(body) >= Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
}

/** Calls `answer` when a request has arrived whole; `nth` counts from 1 over all connections. */
export const rawServer = (
  answer: (socket: Socket, nth: number) => void,
  greet: (socket: Socket) => void = () => {}
) => {
  const requests: Array<string> = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    let text = ""
    sockets.add(socket)
    greet(socket)
    socket.on("error", () => {})
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1")
      if (!whole(text)) return
      requests.push(text)
      text = ""
      answer(socket, requests.length)
    })
  })
  return Effect.acquireRelease(
    Effect.callback<RawServer>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ port, url: `http://127.0.0.1:${port}`, requests }))
      })
    }),
    () =>
      Effect.sync(() => {
        server.close()
        sockets.forEach((socket) => socket.destroy())
      })
  )
}

/** An answer with a body, on a connection that stays open. */
export const http = (status: number, body: unknown, headers: ReadonlyArray<string> = []) => {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  return [`HTTP/1.1 ${status} X`, `content-length: ${Buffer.byteLength(text)}`, ...headers, "", text].join("\r\n")
}
