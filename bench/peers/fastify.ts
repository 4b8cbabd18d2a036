/** GET /v1/charges/:id on fastify, with its own router, hooks, error handler and compiled serializer. */
import Fastify from "fastify"

import * as Problem from "../../src/domain/api/Problem.ts"
import { answered, gate, given, isUuid, listening, refusalOf, requestIdOf } from "./Ground.ts"

const route = "/v1/charges/:id"
const charges = new Map(given.charge === undefined ? [] : [[given.charge.id, given.charge]])
const enter = gate(`GET ${route}`, "charges:read")

const text = { type: "string" }
const nullable = { type: "string", nullable: true }
const charge = {
  type: "object",
  properties: {
    id: text,
    operation_state: text,
    amount: { type: "integer" },
    currency: text,
    source: text,
    description: nullable,
    order_id: nullable,
    created_at: text,
    failure: { type: "object", nullable: true, properties: { code: text, message: text } }
  }
}

const app = Fastify({ genReqId: ({ headers }) => requestIdOf(headers["x-request-id"]) })
app.setErrorHandler((error, request, reply) => {
  const { body, headers, status } = refusalOf(error, request.id)
  return reply.code(status).headers(headers).type("application/problem+json").send(body)
})
app.setNotFoundHandler(() => {
  throw new Problem.NotFound({})
})
app.addHook("onRequest", (request, _, done) => {
  enter(request.headers, request.ip)
  done()
})
app.addHook("onResponse", (request, reply, done) => {
  answered(request.routeOptions.url ?? "unknown", reply.statusCode, performance.now() - reply.elapsedTime)
  done()
})
app.get<{ Params: { id: string } }>(route, { schema: { response: { 200: charge } } }, (request, reply) => {
  const found = isUuid(request.params.id) ? charges.get(request.params.id) : undefined
  if (found === undefined) throw new Problem.ChargeNotFound({})
  reply.header("cache-control", "no-store").header("x-request-id", request.id).type("application/json").send(found)
})

await app.listen({ port: 0, host: "127.0.0.1" })
listening((app.server.address() as { readonly port: number }).port)
process.on("SIGTERM", () => process.exit(0))
