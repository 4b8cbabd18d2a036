/**
 * What Node refuses before there is a request: bytes that are no HTTP, a head too large or too slow, a body
 * that does not come. Node would write a bare status line; here it is a problem like every other.
 */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http"
import type { Duplex } from "node:stream"

import * as Problem from "../../domain/api/Problem.ts"
import { contentType, toWire } from "./ProblemResponse.ts"

/** Time a refused client has to read why before the connection is cut. */
const lastWordsMillis = 500

export interface Options {
  readonly nextId: () => string
  readonly onRefused: (reason: string) => void
}

const problemOf = (code: string | undefined): Problem.Problem => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new Problem.HeadersTooLarge({})
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new Problem.RequestTimeout({})
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new Problem.PayloadTooLarge({})
    default:
      return new Problem.MalformedRequest({})
  }
}

/** With the answer that is on its way, if one is; Node's own listener looks at the same field. */
interface Connection extends Duplex {
  readonly _httpMessage?: ServerResponse | null
  readonly setTimeout?: (millis: number, then: () => void) => void
  readonly destroySoon: () => void
}

/** Is an answer on its way on this connection? */
export const isAnswering = (socket: Connection): boolean =>
  socket._httpMessage !== undefined && socket._httpMessage !== null

/** The last answer on a connection. */
const last = (problem: Problem.Problem, id: string) => {
  const { body, headers } = toWire(problem, id)
  const length = String(Buffer.byteLength(body))
  return { body, headers: { ...headers, "content-type": contentType, "content-length": length, connection: "close" } }
}

const write = (socket: Connection, problem: Problem.Problem, id: string) => {
  const { body, headers } = last(problem, id)
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${head.join("")}\r\n${body}`)
  // What it still sends is not read: else every byte would put the end off.
  socket.pause()
  socket.setTimeout?.(lastWordsMillis, () => socket.destroy())
}

/** Listens for all of them on this server. */
export const listen = (server: Server, options: Options): void => {
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Connection) => {
    const problem = problemOf(error.code)
    options.onRefused(error.code === "ECONNRESET" ? "reset" : problem._tag)
    const answering = socket._httpMessage
    if (!socket.writable || error.code === "ECONNRESET") socket.destroy()
    // The bad bytes came after a whole request: that one gets its own answer, and nobody is told two things.
    else if (answering?.req.complete === true) answering.once("finish", () => socket.destroySoon())
    else if (answering?.headersSent === true) socket.destroy()
    else write(socket, problem, options.nextId())
  })

  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    const { body, headers } = last(new Problem.ExpectationFailed({}), options.nextId())
    options.onRefused("expectation-failed")
    response.writeHead(417, headers).end(body)
  })

  server.on("connect", (_request: IncomingMessage, socket: Connection) => {
    options.onRefused("method-not-allowed")
    write(socket, new Problem.MethodNotAllowed({ detail: "This is no proxy." }), options.nextId())
  })

  server.on("drop", () => options.onRefused("connections-max"))
}
