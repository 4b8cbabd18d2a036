import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import fastify from "fastify"
import { type Context, Hono } from "hono"

import * as NodeLimits from "../../src/layers/http/NodeLimits.ts"
import * as RedisServer from "../support/RedisServer.ts"

const closing: Array<() => unknown> = []
afterAll(async () => {
  for (const close of closing.toReversed()) await close()
})

const opened = async (options: NodeLimits.LimitsOptions = {}) => {
  const limits = await NodeLimits.makeLimits(options)
  closing.push(limits.close)
  return limits
}

/** Five in ten minutes for each of `x-user`; nobody who does not say who they are is counted. */
const rule = { name: "search", limit: 2, windowMillis: 600_000 }
const ofUser = (user: string | undefined) => (user === undefined ? undefined : (["acme", user] as const))

const ofAcme = () => ["acme"] as const

interface Seen {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** Two pass, the third is told everything, another user and nobody in particular pass; whom it let through. */
const passing = async (ask: (user?: string) => Promise<Seen>) => {
  for (const left of [1, 0]) {
    const { headers, status, text } = await ask("ada")
    assert.deepStrictEqual([status, text], [200, "found"])
    assert.strictEqual(headers.get("ratelimit-policy"), `"search";q=2;w=600`)
    assert.match(headers.get("ratelimit") ?? "", new RegExp(`^"search";r=${left};t=\\d+$`))
  }
  const { headers, status, text } = await ask("ada")
  assert.strictEqual(status, 429)
  assert.match(headers.get("content-type") ?? "", /^application\/problem\+json/)
  const body = JSON.parse(text) as Record<string, unknown>
  assert.strictEqual(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded")
  assert.deepStrictEqual(body["violated-policies"], ["search"])
  const wait = Number(body["retry_after_ms"])
  assert.isTrue(wait > 0 && wait <= 600_000, String(wait))
  assert.strictEqual(headers.get("retry-after"), String(Math.ceil(wait / 1000)))
  assert.match(headers.get("ratelimit") ?? "", /^"search";r=0;t=\d+$/)
  const others = [await ask("bob"), await ask(), await ask(), await ask()]
  return others.map((other) => other.status)
}

const all = [200, 200, 200, 200]

const seen = async (response: Response): Promise<Seen> => ({
  status: response.status,
  headers: response.headers,
  text: await response.text()
})
const asking = (url: string) => (user?: string) =>
  fetch(url, { headers: user === undefined ? {} : { "x-user": user } }).then(seen)
const header = (value: string | ReadonlyArray<string> | undefined) => (typeof value === "string" ? value : undefined)

describe("NodeLimits", () => {
  it("stands in front of a plain node:http server", async () => {
    const limits = await opened()
    const guard = limits.guard<IncomingMessage>([{ ...rule, key: ({ headers }) => ofUser(header(headers["x-user"])) }])
    const server = createServer(guard.node((_, response: ServerResponse) => response.end("found"))).listen(
      0,
      "127.0.0.1"
    )
    closing.push(() => server.close())
    await once(server, "listening")
    assert.deepStrictEqual(await passing(asking(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)), all)
  })

  it("stands in front of fastify", async () => {
    const limits = await opened()
    const guard = limits.guard<{ readonly headers: Readonly<Record<string, string | Array<string> | undefined>> }>([
      { ...rule, key: ({ headers }) => ofUser(header(headers["x-user"])) }
    ])
    const app = fastify()
    closing.push(() => app.close())
    app.addHook("onRequest", guard.fastify)
    app.get("/", () => "found")
    assert.deepStrictEqual(await passing(asking(await app.listen({ host: "127.0.0.1", port: 0 }))), all)
  })

  it("stands in front of Hono", async () => {
    const limits = await opened()
    const guard = limits.guard<Context>([{ ...rule, key: (context) => ofUser(context.req.header("x-user")) }])
    const app = new Hono()
    app.use(guard.hono)
    app.get("/", (context) => context.text("found"))
    const ask = async (user?: string) =>
      seen(await app.request("/", { headers: user === undefined ? {} : { "x-user": user } }))
    assert.deepStrictEqual(await passing(ask), all)
  })

  it("charges all rules or none, more than one unit if told to, and gives back what came to nothing", async () => {
    const limits = await opened()
    const guard = limits.guard<string>([
      { name: "wide", limit: 10, windowMillis: 60_000, key: () => ["acme"] },
      { name: "narrow", limit: 4, windowMillis: 60_000, key: (user) => ["acme", user] }
    ])
    const first = await guard.decide("ada", 3)
    assert(first.admitted)
    for (let n = 0; n < 9; n++) assert.isFalse((await guard.decide("ada", 2)).admitted)
    const other = await guard.decide("bob", 4)
    assert.match(String(other.headers["ratelimit"]), /^"wide";r=3;/)
    await first.refund()
    assert.isTrue((await guard.decide("ada", 4)).admitted)
    const error = await guard.decide("ada", 5).then(
      () => undefined,
      (rejected: unknown) => rejected
    )
    assert.deepInclude(error, { _tag: "CostAboveLimit", cost: 5, limit: 4 })
  })

  it("refuses a rule that contradicts itself", async () => {
    const limits = await opened()
    assert.throws(() => limits.guard([{ name: "Search", limit: 1, windowMillis: 1000, key: ofAcme }]))
    assert.throws(() => limits.guard([{ name: "search", limit: 0, windowMillis: 1000, key: ofAcme }]))
    assert.throws(() => limits.guard([{ name: "search", limit: 1, windowMillis: 0, key: ofAcme }]))
  })
})

// A machine without redis-server cannot start one.
describe.runIf(RedisServer.installed)("NodeLimits on Redis (needs redis-server in the PATH)", () => {
  it.live("shares its counts with other processes, and serves on when Redis is gone", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const server = yield* RedisServer.started
        const url = Redacted.value(server.url)
        const guards = yield* Effect.forEach([1, 2], () =>
          Effect.map(
            Effect.promise(() => opened({ redisUrl: url })),
            (limits) => limits.guard<string>([{ ...rule, limit: 4, key: (user) => ["acme", user] }])
          )
        )
        const decisions = []
        for (let n = 0; n < 6; n++) {
          const guard = guards[n % 2]
          if (guard !== undefined) decisions.push((yield* Effect.promise(() => guard.decide("ada"))).admitted)
        }
        assert.deepStrictEqual(decisions, [true, true, true, true, false, false])
        yield* server.kill
        const alone = yield* Effect.forEach(guards, (guard) => Effect.promise(() => guard.decide("bob")))
        // Who has not been seen by the others yet has no share of the limit, and says so in the same shape.
        assert.isTrue(alone.some(({ admitted }) => admitted))
        assert.isFalse((yield* Effect.promise(() => guards[0]?.decide("ada") ?? Promise.reject())).admitted)
      })
    )
  )
})
