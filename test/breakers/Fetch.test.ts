import { once } from "node:events"
import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"

import { afterAll, assert, describe, it, vi } from "@effect/vitest"

import * as Fetch from "../../src/layers/breakers/Fetch.ts"

const closing: Array<() => unknown> = []
afterAll(() => Promise.all(closing.map((close) => close())))

/** A server whose answer the test decides. */
const serving = async (answer: RequestListener) => {
  const server = createServer(answer).listen(0, "127.0.0.1")
  await once(server, "listening")
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const guarded = (options: Parameters<typeof Fetch.makeBreakers>[0] = {}) => {
  const breakers = Fetch.makeBreakers({ failuresMax: 2, windowMillis: 200, ...options })
  closing.push(breakers.close)
  return breakers
}

const refusalOf = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => undefined,
    (rejected: unknown) => rejected
  )
  assert.instanceOf(error, Fetch.BreakerRefusal)
  return error
}

const old = () => Promise.resolve({ value: 7, ageMillis: 1500 })
const down = () => Promise.reject(new Error("down"))

describe("Fetch", () => {
  it("hands on answers as they are, counts the bad ones, and then refuses without asking", async () => {
    let asked = 0
    const url = await serving((_, response) => {
      asked++
      response.writeHead(503, { "retry-after": "2" }).end("busy")
    })
    const breakers = guarded()
    const catalog = breakers.fetch("catalog", { timeoutMillis: 5000 })
    for (let n = 0; n < 2; n++) {
      const response = await catalog(url)
      assert.deepStrictEqual([response.status, await response.text()], [503, "busy"])
    }
    const refused = await refusalOf(catalog(url))
    assert.deepStrictEqual([refused.dependency, refused.reason, refused.path], ["catalog", "open", ["catalog"]])
    assert.isAbove(refused.retryAfterMillis, 1000, "as long as it asked for")
    assert.strictEqual(asked, 2)
    assert.deepStrictEqual(
      breakers.states().map(({ dependency, state }) => [dependency, state]),
      [["catalog", "open"]]
    )
  })

  it("takes a caller's mistake, and a 429 if it is told to, for health", async () => {
    const url = await serving((request, response) => response.writeHead(Number(request.url?.slice(1))).end())
    const catalog = guarded().fetch("catalog", { timeoutMillis: 5000, limited: "ignored" })
    for (const status of [404, 400, 501, 429, 429, 429])
      assert.strictEqual((await catalog(url + status)).status, status)
  })

  it("gives up a call at its timeout, aborts it, and says that it may have been executed", async () => {
    const dropped = Promise.withResolvers<void>()
    const url = await serving((request) => void request.socket.once("close", () => dropped.resolve()))
    const catalog = guarded().fetch("catalog", { timeoutMillis: 50 })
    const refused = await refusalOf(catalog(url, { method: "POST", body: "{}" }))
    assert.strictEqual(refused.reason, "timeout")
    await dropped.promise
  })

  it("rejects with the caller's reason when the caller gives up, and counts nothing", async () => {
    const arrived = Promise.withResolvers<void>()
    const url = await serving(() => arrived.resolve())
    const breakers = guarded({ failuresMax: 1 })
    const catalog = breakers.fetch("catalog", { timeoutMillis: 60_000 })
    const abort = new AbortController()
    const asking = catalog(url, { signal: abort.signal })
    await arrived.promise
    abort.abort(new Error("changed my mind"))
    const error = await asking.then(
      () => undefined,
      (rejected: unknown) => rejected
    )
    assert.strictEqual((error as Error).message, "changed my mind")
    assert.strictEqual(breakers.states()[0]?.state, "closed")
  })

  it("hears the caller give up while the body still comes", async () => {
    const url = await serving((_, response) => void response.writeHead(200).write("half"))
    const abort = new AbortController()
    const response = await guarded().fetch("catalog", { timeoutMillis: 60_000 })(url, { signal: abort.signal })
    const reading = response.text().then(
      () => "all",
      () => "cut"
    )
    abort.abort()
    assert.strictEqual(await reading, "cut")
  })

  it("rejects as fetch does when nobody listens", async () => {
    const error = await guarded()
      .fetch("nobody", { timeoutMillis: 5000 })("http://127.0.0.1:1/")
      .then(
        () => undefined,
        (rejected: unknown) => rejected
      )
    assert.instanceOf(error, TypeError)
  })

  it("tells an old value as such, for reads alone, and every change of state", async () => {
    const changes: Array<string> = []
    const breakers = guarded({
      onChange: ({ dependency, from, to }) => changes.push(`${dependency}: ${from} to ${to}`)
    })
    const price = breakers.read("prices", { timeoutMillis: 5000, maxAgeMillis: 60_000 })
    assert.deepStrictEqual(await price(() => Promise.resolve(8), old), { stale: false, value: 8 })
    for (let n = 0; n < 3; n++) {
      assert.deepStrictEqual(await price<number>(down, old), { stale: true, value: 7, ageMillis: 1500 })
    }
    const pay = breakers.write("bank", { timeoutMillis: 5000 })
    assert.strictEqual(await pay(() => Promise.resolve("paid")), "paid")
    const loud = await pay(down).catch((error: unknown) => String(error))
    assert.strictEqual(loud, "Error: down")
    assert.deepStrictEqual(changes, ["prices: closed to open"])
  })

  it("goes on telling changes to a listener that throws", async () => {
    const told: Array<string> = []
    const breakers = guarded({
      failuresMax: 1,
      onChange: ({ dependency }) => {
        told.push(dependency)
        throw new Error("of the listener")
      }
    })
    for (const name of ["one", "two"])
      await breakers
        .write(name, { timeoutMillis: 5000 })(down)
        .catch(() => {})
    await vi.waitUntil(() => told.length === 2)
    assert.deepStrictEqual(told, ["one", "two"])
  })

  it("throws at once for options that contradict themselves", () => {
    assert.throws(() => Fetch.makeBreakers({ windowMillis: -1 }), /open window must be positive/)
    assert.throws(() => Fetch.makeBreakers({ fleet: 1000 }), /too many already/)
    assert.throws(() => guarded().fetch("catalog", { timeoutMillis: 0 }), /timeout must be positive/)
  })
})
