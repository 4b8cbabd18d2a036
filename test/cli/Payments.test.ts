/** `cribwork payments` against the house itself: its API over HTTP, in memory, in this process. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { Clock, ConfigProvider, Effect, Layer, Logger } from "effect"

import { type Scope } from "../../src/domain/access/ApiKey.ts"
import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import * as Deadline from "../../src/domain/Deadline.ts"
import { type AttemptClass, Outbox } from "../../src/domain/payments/Outbox.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as Readiness from "../../src/layers/platform/Readiness.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import * as Features from "../../src/programs/stacks/Features.ts"
import * as Memory from "../../src/programs/stacks/Memory.ts"
import { ask, newKey, port } from "../http/Trial.ts"
import { accepted, claimed, freshTenant, intent } from "../payments/intents.ts"
import { cribwork, parsed, program } from "./Command.ts"

const house = Features.api.pipe(
  Layer.provideMerge(
    Layer.fresh(
      Layer.mergeAll(
        Readiness.layer,
        MemoryBreakers.layer,
        Memory.stack.limiter,
        Memory.stack.books,
        Memory.stack.provider
      )
    )
  ),
  Layer.provideMerge(Settings.layer),
  Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ PORT: "0" }))),
  Layer.provide(Logger.layer([]))
)

/** What `source .cribwork/dev.env` would have set. */
const environment = Effect.fnUntraced(function* (scopes: ReadonlyArray<Scope>, tenant = freshTenant()) {
  const { authorization } = yield* newKey({ scopes, tenant, operator: true })
  return {
    CRIBWORK_URL: `http://127.0.0.1:${yield* port}`,
    CRIBWORK_API_KEY: authorization.replace("Bearer ", "")
  }
})

/** A charge whose attempts are spent. */
const buried = Effect.fnUntraced(function* (kind: AttemptClass = "busy", error = "spent") {
  const asked = intent()
  const charge = yield* accepted(asked)
  const lease = yield* claimed(asked.tenant)
  yield* (yield* Outbox).ack(lease, { _tag: "Bury", class: kind, error })
  return { id: lease.operation, charge: charge.id, tenant: asked.tenant }
})

/** Two days ago: longer than the provider dedupes. */
const longAgo = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const then = clock.currentTimeMillisUnsafe() - 48 * 3_600_000
    const stopped: Clock.Clock = Object.create(clock, {
      currentTimeMillisUnsafe: { value: () => then },
      currentTimeMillis: { value: Effect.succeed(then) }
    })
    return yield* Effect.provideService(effect, Clock.Clock, stopped)
  })

const nobody = "00000000-0000-4000-8000-000000000000"

describe("cribwork payments", () => {
  it.live("shows a charge of the key's tenant, for people and for programs", () =>
    Effect.gen(function* () {
      const tenant = freshTenant()
      const charge = yield* accepted(intent({ tenant, ask: { description: "Two chairs" } }))
      const env = yield* environment(["charges:read"], tenant)
      const shown = yield* cribwork(["payments", "show", charge.id], env)
      assert.deepStrictEqual([shown.code, shown.stderr], [0, ""])
      assert.match(shown.stdout, new RegExp(`^charge +${charge.id}$`, "m"))
      assert.match(shown.stdout, /^amount +10\.50 USD$/m)
      assert.match(shown.stdout, /^description +Two chairs$/m)
      assert.match(shown.stdout, /^created +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/m)
      const { code, stdout } = yield* cribwork(["payments", "show", charge.id, "--json"], env)
      assert.strictEqual(code, 0)
      assert.deepInclude(parsed(stdout), { id: charge.id, amount: 1050, operation_state: "accepted" })
    }).pipe(Effect.provide(house))
  )

  it.live("says what the server says: title, detail, request id", () =>
    Effect.gen(function* () {
      const env = yield* environment(["charges:read"])
      const missing = yield* cribwork(["payments", "show", nobody], env)
      assert.deepStrictEqual([missing.code, missing.stdout], [3, ""])
      assert.match(missing.stderr, /^cribwork: No such charge\n {2}request id \S+\n$/)

      const { code, stderr, stdout } = yield* cribwork(["payments", "dlq", "list", "--json"], env)
      assert.deepStrictEqual([code, stdout], [4, ""])
      const told = parsed(stderr)
      assert.deepInclude(told, { error: "forbidden", exit_code: 4 })
      assert.deepInclude(told["problem"], { status: 403, scope: "payments:admin", request_id: told["request_id"] })

      const { authorization } = yield* newKey({ scopes: ["charges:read"], plan: "small" })
      yield* Effect.repeat(ask("/v1/charges", { headers: { authorization } }), {
        until: ({ status }) => status === 429
      })
      const small = { ...env, CRIBWORK_API_KEY: authorization.replace("Bearer ", "") }
      const quota = yield* cribwork(["payments", "show", nobody], small)
      assert.strictEqual(quota.code, 5)
      assert.match(quota.stderr, /^cribwork: Quota exceeded[^]*Try again in \d+/)

      const unknown = yield* cribwork(["payments", "show", nobody], { ...env, CRIBWORK_API_KEY: "hunter2" })
      assert.strictEqual(unknown.code, 4)
      assert.notInclude(unknown.stderr, "hunter2")
    }).pipe(Effect.provide(house))
  )

  it.live("walks dead letters a page at a time", () =>
    Effect.gen(function* () {
      const env = yield* environment(["payments:admin"])
      const first = yield* buried("busy", "come \u001B[31mback")
      const second = yield* buried()
      const page = yield* cribwork(["payments", "dlq", "list", "--limit", "1"], env)
      assert.strictEqual(page.code, 0)
      assert.match(page.stdout, /^ID +TENANT +AMOUNT +CLASS +ATTEMPTS +BURIED +ERROR\n/)
      assert.include(page.stdout, second.id)
      const cursor = /--cursor (\S+)/.exec(page.stderr)?.[1] ?? ""
      const next = yield* cribwork(["payments", "dlq", "list", "--limit", "1", "--cursor", cursor], env)
      assert.include(next.stdout, first.id)
      assert.include(next.stdout, "come \\x1b[31mback")
      assert.strictEqual(next.stderr, "")
      const all = parsed((yield* cribwork(["payments", "dlq", "list", "--json"], env)).stdout)
      assert.strictEqual((all["data"] as ReadonlyArray<unknown>).length, 2)
      assert.isNull(all["next_cursor"])

      const shown = yield* cribwork(["payments", "dlq", "show", first.charge], env)
      assert.match(shown.stdout, new RegExp(`^dead letter +${first.id}$`, "m"))
      assert.match(shown.stdout, /^1 +\d{4}-\S+ \S+ UTC .* busy +come/m)
      assert.strictEqual((yield* cribwork(["payments", "dlq", "show", nobody], env)).code, 3)
    }).pipe(Effect.provide(house))
  )

  it.live("redrives those that are named, by any id, and says which are none", () =>
    Effect.gen(function* () {
      const env = yield* environment(["payments:admin"])
      const [one, other] = [yield* buried(), yield* buried()]
      const ids = [one.id, one.charge, other.charge, nobody]
      const done = yield* cribwork(["payments", "dlq", "redrive", ...ids, "--reason", "it is back", "--json"], env)
      assert.strictEqual(done.code, 3)
      const told = parsed(done.stdout)
      assert.sameMembers(told["redriven"] as Array<string>, [one.id, other.id])
      assert.deepInclude(told, { refused: [], missing: [nobody] })
      assert.deepInclude(parsed(done.stderr), { error: "not-all-redriven", exit_code: 3 })
      const [entry] = yield* (yield* AuditLog).list({ limit: 1 })
      assert.deepInclude(entry, { action: "dead-letters.redrive", why: "it is back" })
      assert.deepInclude(parsed((yield* cribwork(["payments", "dlq", "list", "--json"], env)).stdout), { data: [] })
    }).pipe(Effect.provide(house))
  )

  it.live("redrives all, page after page, past those that are refused, until somebody vouches for them", () =>
    Effect.gen(function* () {
      const env = yield* environment(["payments:admin"])
      const doubtful = yield* longAgo(buried("unknown"))
      yield* Effect.forEach(Array.from({ length: 101 }), () => buried())
      const few = yield* cribwork(["payments", "dlq", "redrive", "--all", "--limit", "1", "--reason", "a try"], env)
      assert.deepStrictEqual([few.code, few.stdout, few.stderr], [0, "1 sent on again\n", ""])
      const all = yield* cribwork(["payments", "dlq", "redrive", "--all", "--reason", "back"], env)
      assert.strictEqual(all.code, 4)
      assert.include(all.stdout, "100 sent on again\n1 refused, since they may have been charged: " + doubtful.id)
      assert.include(all.stderr, "--after-evidence")
      const vouched = yield* cribwork(
        ["payments", "dlq", "redrive", "--all", "--after-evidence", "--reason", "not there"],
        env
      )
      assert.deepStrictEqual([vouched.code, vouched.stdout], [0, "1 sent on again\n"])
    }).pipe(Effect.provide(house))
  )

  it.live("asks what to redrive, and why", () =>
    Effect.gen(function* () {
      for (const args of [[], [nobody, "--all"], [nobody, "--limit", "1"]]) {
        const { code, stderr } = yield* cribwork(["payments", "dlq", "redrive", ...args, "--reason", "x"])
        assert.strictEqual(code, 2)
        assert.include(stderr, "Redrive what?")
      }
      assert.strictEqual((yield* cribwork(["payments", "dlq", "redrive", nobody])).code, 2)
      const env = yield* environment(["payments:admin"])
      assert.strictEqual((yield* cribwork(["payments", "dlq", "list", "--cursor", "bm90aGluZw"], env)).code, 2)
    }).pipe(Effect.provide(house))
  )

  it.live("tells the server how long it waits, and ends with 130 when it is interrupted meanwhile", () =>
    Effect.gen(function* () {
      const hung = createServer()
      yield* Effect.addFinalizer(() => Effect.sync(() => hung.close().closeAllConnections()))
      yield* Effect.promise(() => once(hung.listen(0, "127.0.0.1"), "listening"))
      const url = `http://127.0.0.1:${(hung.address() as AddressInfo).port}`
      const { PATH } = process.env
      const asking = spawn(process.execPath, [program, "payments", "show", nobody], {
        env: { PATH, CRIBWORK_URL: url, CRIBWORK_API_KEY: "k" },
        stdio: "inherit"
      })
      const ended = Effect.promise(() => once(asking, "exit"))
      const [{ headers }] = yield* Effect.promise(() => once(hung, "request") as Promise<[IncomingMessage]>)
      assert.match(String(headers[Deadline.header]), /^(?:29\d{3}|30000)$/)
      asking.kill("SIGINT")
      assert.deepStrictEqual(yield* ended, [130, null])
    }).pipe(Effect.scoped)
  )

  it.live("says that nothing answers and where it asked, or that what answers is something else", () =>
    Effect.gen(function* () {
      const settings = { CRIBWORK_API_KEY: "k", CRIBWORK_URL: "http://127.0.0.1:1000" }
      const nothing = yield* cribwork(["payments", "show", nobody], settings)
      assert.strictEqual(nothing.code, 5)
      assert.match(nothing.stderr, /^cribwork: No answer from http:\/\/127\.0\.0\.1:1000: connect ECONNREFUSED/)

      const keyless = yield* cribwork(["payments", "show", nobody], { CRIBWORK_URL: "http://127.0.0.1:1000" })
      assert.strictEqual(keyless.code, 2)
      assert.include(keyless.stderr, "CRIBWORK_API_KEY must be set")
      const named = yield* cribwork(["payments", "show", nobody], {
        ...settings,
        CRIBWORK_URL: "http://ada:hunter2@x/"
      })
      assert.strictEqual(named.code, 2)
      assert.include(named.stderr, "CRIBWORK_URL must name no user")
      assert.notInclude(named.stderr, "hunter2")

      let asked = 0
      const stranger = createServer((request, response) => {
        asked += 1
        if (request.url?.includes("moved") ?? false) response.writeHead(302, { location: "/elsewhere" })
        response.end("<h1>It works!</h1>")
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => stranger.close()))
      yield* Effect.promise(() => once(stranger.listen(0, "127.0.0.1"), "listening"))
      const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`
      for (const id of [nobody, "moved"]) {
        const other = yield* cribwork(["payments", "show", id], { ...settings, CRIBWORK_URL: url })
        assert.strictEqual(other.code, 1)
        assert.include(other.stderr, `What answers at ${url} is not Cribwork's API`)
      }
      assert.strictEqual(asked, 2)
    }).pipe(Effect.scoped)
  )
})
