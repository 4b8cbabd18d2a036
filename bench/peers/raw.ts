/** GET /v1/charges/:id on node:http and nothing else. */
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

import * as Problem from "../../src/domain/api/Problem.ts"
import { answered, gate, given, isUuid, listening, refusalOf, requestIdOf } from "./Ground.ts"

const route = "/v1/charges/:id"
const charges = new Map(given.charge === undefined ? [] : [[given.charge.id, given.charge]])
const enter = gate(`GET ${route}`, "charges:read")

const write = (response: ServerResponse, status: number, body: string, headers: Record<string, string>) => {
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) })
  response.end(body)
}

const server = createServer((request, response) => {
  const started = performance.now()
  const requestId = requestIdOf(request.headers["x-request-id"])
  let status = 200
  try {
    const id = /^\/v1\/charges\/([^/?]+)(?:\?.*)?$/.exec(request.url ?? "")?.[1]
    if (id === undefined || request.method !== "GET") throw new Problem.NotFound({})
    enter(request.headers, request.socket.remoteAddress ?? "")
    const charge = isUuid(id) ? charges.get(id) : undefined
    if (charge === undefined) throw new Problem.ChargeNotFound({})
    write(response, status, JSON.stringify(charge), {
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-request-id": requestId
    })
  } catch (error) {
    const refusal = refusalOf(error, requestId)
    status = refusal.status
    write(response, status, refusal.body, { "content-type": "application/problem+json", ...refusal.headers })
  }
  answered(route, status, started)
})
server.listen(0, "127.0.0.1", () => listening((server.address() as AddressInfo).port))
process.on("SIGTERM", () => process.exit(0))
