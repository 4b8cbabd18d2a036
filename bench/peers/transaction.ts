/**
 * POST /v1/charges on fastify and postgres.js: one hand-written transaction a charge, the same rows under the
 * same constraints. Hot rows are locked last. Statements are prepared once a connection.
 */
import Fastify from "fastify"
import postgres from "postgres"

import * as Problem from "../../src/domain/api/Problem.ts"
import { fingerprint } from "../../src/domain/payments/Fingerprint.ts"
import { IdempotencyKey } from "../../src/domain/payments/IdempotencyKey.ts"
import { pspKey } from "../../src/domain/payments/PspKey.ts"
import { answered, gate, given, listening, refusalOf, requestIdOf } from "./Ground.ts"
import { uuidv7 } from "./Uuid.ts"

interface Body {
  readonly amount: number
  readonly currency: string
  readonly source: string
  readonly description?: string | null
  readonly order_id?: string | null
}

const body = {
  type: "object",
  additionalProperties: false,
  required: ["amount", "currency", "source"],
  properties: {
    amount: { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    currency: { type: "string", pattern: "^[A-Z]{3}$" },
    source: { type: "string", pattern: "^[A-Za-z0-9_-]{1,255}$" },
    description: { type: "string", nullable: true, minLength: 1, maxLength: 500 },
    order_id: { type: "string", nullable: true, minLength: 1, maxLength: 128 }
  }
}

interface Account {
  readonly id: string
  readonly code: string
  readonly version: string
  readonly balance: string
}

const route = "/v1/charges"
const enter = gate(`POST ${route}`, "charges:write")
const sql = postgres(given.databaseUrl ?? "", { max: given.pool ?? 8, onnotice: () => undefined })

const open = (tx: postgres.TransactionSql, tenant: string, currency: string) => tx`
  insert into accounts (tenant_id, currency, code)
  values (${tenant}, ${currency}, 'payable'), (${tenant}, ${currency}, 'receivable') on conflict do nothing`

/** Both accounts, locked in one order and moved by one statement. */
const hold = (tx: postgres.TransactionSql, tenant: string, currency: string, amount: number) => tx<Array<Account>>`
  with locked as (
    select id from accounts where tenant_id = ${tenant} and currency = ${currency} order by code for no key update
  )
  update accounts a set version = version + 1,
    held_debits = held_debits + case code when 'receivable' then ${amount}::bigint else 0 end,
    held_credits = held_credits + case code when 'payable' then ${amount}::bigint else 0 end
  from locked where a.id = locked.id
  returning a.id, a.code, a.version, a.posted_credits - a.posted_debits as balance`

const accept = (tenant: string, key: string, print: string, { amount, currency, source, ...rest }: Body) => {
  const [charge, operation, transfer] = [uuidv7(), uuidv7(), uuidv7()]
  const { description = null, order_id: order = null } = rest
  return sql.begin(async (tx) => {
    const [fresh] = await tx<Array<{ created: string; expires: string }>>`
      insert into idempotency_keys (tenant_id, key, fingerprint, charge_id, expires_at)
      values (${tenant}, ${key}, decode(${print}, 'hex'), ${charge}, now() + interval '24 hours')
      on conflict do nothing returning rfc3339(created_at) as created, rfc3339(expires_at) as expires`
    if (fresh === undefined) {
      const [first] = await tx<Array<{ same: boolean; charge: string; created: string; expires: string }>>`
        select fingerprint = decode(${print}, 'hex') as same, charge_id as charge, rfc3339(created_at) as created,
          rfc3339(expires_at) as expires
        from idempotency_keys where tenant_id = ${tenant} and key = ${key}`
      if (first === undefined || !first.same) throw new Problem.IdempotencyKeyReused({})
      return first
    }
    await tx`
      insert into charges (id, tenant_id, amount, currency, source, description, order_id)
      values (${charge}, ${tenant}, ${amount}, ${currency}, ${source}, ${description}, ${order})`
    let accounts = await hold(tx, tenant, currency, amount)
    if (accounts.length < 2) {
      await open(tx, tenant, currency)
      accounts = await hold(tx, tenant, currency, amount)
    }
    const dr = accounts.find(({ code }) => code === "receivable") as Account
    const cr = accounts.find(({ code }) => code === "payable") as Account
    await tx`
      insert into transfers
        (id, kind, dr, cr, currency, amount, operation_id, dr_version, cr_version, dr_balance, cr_balance)
      values (${transfer}, 'hold', ${dr.id}, ${cr.id}, ${currency}, ${amount}, ${operation}, ${dr.version},
        ${cr.version}, ${dr.balance}, ${cr.balance})`
    await tx`
      insert into operations (id, charge_id, tenant_id, key, kind, psp_key, hold_id)
      values (${operation}, ${charge}, ${tenant}, ${key}, 'charge',
        ${pspKey(tenant as never, key as never, "charge", 1)}, ${transfer})`
    await tx`insert into psp_commands (operation_id, tenant_id) values (${operation}, ${tenant})`
    return { charge, ...fresh }
  })
}

const app = Fastify({ bodyLimit: 65_536, genReqId: ({ headers }) => requestIdOf(headers["x-request-id"]) })
app.setErrorHandler((error, request, reply) => {
  const { body, headers, status } = refusalOf(error, request.id)
  return reply.code(status).headers(headers).type("application/problem+json").send(body)
})
const tenants = new WeakMap<object, string>()
app.addHook("onRequest", (request, _, done) => {
  tenants.set(request, enter(request.headers, request.ip).tenant)
  done()
})
app.addHook("onResponse", (request, reply, done) => {
  answered(request.routeOptions.url ?? "unknown", reply.statusCode, performance.now() - reply.elapsedTime)
  done()
})
app.post<{ Body: Body }>(route, { schema: { body } }, async (request, reply) => {
  const key = IdempotencyKey.make(String(request.headers["idempotency-key"]))
  const asked = request.body
  const told = await accept(tenants.get(request) ?? "", key, fingerprint("POST", route, "1", { ...asked }), asked)
  reply.code(202).headers({
    "cache-control": "no-store",
    "x-request-id": request.id,
    "idempotency-key": key,
    "idempotency-expires": told.expires,
    location: `/v1/charges/${told.charge}`,
    "retry-after": "1"
  })
  return {
    id: told.charge,
    operation_state: "accepted",
    amount: asked.amount,
    currency: asked.currency,
    source: asked.source,
    description: asked.description ?? null,
    order_id: asked.order_id ?? null,
    created_at: told.created,
    failure: null
  }
})

await app.listen({ port: 0, host: "127.0.0.1" })
listening((app.server.address() as { readonly port: number }).port)
process.on("SIGTERM", () => process.exit(0))
