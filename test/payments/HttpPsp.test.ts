import type { Socket } from "node:net"
import { inspect } from "node:util"

import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Metric, Option, Redacted, Tracer } from "effect"

import { Psp } from "../../src/domain/payments/Psp.ts"
import type { Capture, PspError } from "../../src/domain/payments/Psp.ts"
import * as HttpPsp from "../../src/layers/payments/HttpPsp.ts"
import { http, rawServer } from "./RawServer.ts"

const command: Capture = {
  pspKey: "00000000-0000-4000-8000-000000000001",
  amount: 1250,
  currency: "EUR",
  source: "tok_visa",
  description: "two “chairs”"
}
const payment = { id: "py_1", psp_key: command.pspKey, amount: 1250, currency: "EUR", state: "captured" }
const failure = { error: { code: "some_code", message: "Some words." } }

const options = (url: string): HttpPsp.Options => ({
  url: Redacted.make(url),
  apiKey: Option.some(Redacted.make("sk_secret")),
  timeout: Duration.seconds(5),
  connections: 4
})
const using = (url: string, more: Partial<HttpPsp.Options> = {}) =>
  Effect.provide(HttpPsp.layerWith({ ...options(url), ...more }))

const capture = (given: Capture = command) => Effect.flatMap(Psp, (psp) => psp.capture(given))
const lookup = Effect.flatMap(Psp, (psp) => psp.lookup(command.pspKey))
const reasonOf = <A, R>(effect: Effect.Effect<A, PspError, R>) => Effect.map(Effect.flip(effect), (e) => e.reason)

const say = (text: string) => (socket: Socket) => void socket.write(text)
/** What a capture comes to when the provider says this. */
const whenSaid = (text: string) =>
  Effect.flatMap(rawServer(say(text)), ({ url }) => reasonOf(capture()).pipe(using(url))).pipe(Effect.scoped)

const waitOf = (status: number, header: string) =>
  Effect.map(whenSaid(http(status, "", header === "" ? [] : [`retry-after: ${header}`])), (reason) => {
    assert(reason._tag === "Busy", reason._tag)
    assert.strictEqual(reason.limited, status === 429)
    return Option.getOrUndefined(Option.map(reason.retryAfter, Duration.toMillis))
  })
const found = (data: ReadonlyArray<unknown>) =>
  Effect.flatMap(rawServer(say(http(200, { data }))), ({ url }) => Effect.result(lookup).pipe(using(url))).pipe(
    Effect.scoped,
    Effect.map((result) => (result._tag === "Success" ? result.success : result.failure.reason._tag))
  )
describe("HttpPsp", () => {
  describe("knows that nothing was sent", () => {
    it.live("when nobody listens", () =>
      Effect.gen(function* () {
        const { url } = yield* Effect.scoped(rawServer(() => {}))
        const reason = yield* reasonOf(capture()).pipe(using(url))
        assert(reason._tag === "NotSent")
        assert.include(String(reason.cause), "ECONNREFUSED")
        assert.strictEqual((yield* reasonOf(lookup).pipe(using(url)))._tag, "NotSent")
      })
    )

    it.live("when the name leads nowhere", () =>
      Effect.gen(function* () {
        const reason = yield* reasonOf(capture()).pipe(using("http://psp.invalid"))
        assert.strictEqual(reason._tag, "NotSent")
      })
    )

    it.live("when TLS fails, or hangs, before the request", () =>
      Effect.gen(function* () {
        const plain = yield* rawServer(
          () => {},
          (socket) => void socket.end("this is not TLS")
        )
        assert.strictEqual((yield* reasonOf(capture()).pipe(using(`https://127.0.0.1:${plain.port}`)))._tag, "NotSent")
        const { port } = yield* rawServer(() => {})
        const hung = yield* reasonOf(capture()).pipe(using(`https://127.0.0.1:${port}`, { timeout: millis(200) }))
        assert.strictEqual(hung._tag, "NotSent")
      }).pipe(Effect.scoped)
    )

    it.live("when every connection is busy until its time is up", () =>
      Effect.gen(function* () {
        const { url, requests } = yield* rawServer(() => {})
        const [first, second] = yield* Effect.all([reasonOf(capture()), reasonOf(capture())], {
          concurrency: 2
        }).pipe(using(url, { connections: 1, timeout: millis(200) }))
        assert.sameMembers([first._tag, second._tag], ["Unknown", "NotSent"])
        assert.strictEqual(requests.length, 1)
      }).pipe(Effect.scoped)
    )
  })

  describe("knows nothing", () => {
    it.live("when the connection is reset after the request left", () =>
      Effect.gen(function* () {
        const { url, requests } = yield* rawServer((socket) => void socket.resetAndDestroy())
        const reason = yield* reasonOf(capture()).pipe(using(url))
        assert(reason._tag === "Unknown")
        assert.include(reason.evidence, "the request left")
        assert.strictEqual(requests.length, 1)
      }).pipe(Effect.scoped)
    )

    it.live("when no answer comes in time", () =>
      Effect.gen(function* () {
        const { url } = yield* rawServer(() => {})
        const reason = yield* reasonOf(capture()).pipe(using(url, { timeout: millis(200) }))
        assert(reason._tag === "Unknown")
        assert.include(reason.evidence, "no answer in 200ms")
      }).pipe(Effect.scoped)
    )

    it.live("when the answer breaks off, or never ends", () =>
      Effect.gen(function* () {
        const half = "HTTP/1.1 201 X\r\ncontent-length: 100\r\n\r\n{"
        const cut = yield* rawServer((socket) => void socket.end(half))
        assert.strictEqual((yield* reasonOf(capture()).pipe(using(cut.url)))._tag, "Unknown")
        const hung = yield* rawServer(say(half))
        assert.strictEqual((yield* reasonOf(capture()).pipe(using(hung.url, { timeout: millis(200) })))._tag, "Unknown")
      }).pipe(Effect.scoped)
    )

    it.live("when a kept-alive connection is gone, and does not send again by itself", () =>
      Effect.gen(function* () {
        const { url, requests } = yield* rawServer((socket, nth) => {
          if (nth === 1) socket.write(http(201, payment))
          else socket.resetAndDestroy()
        })
        const second = yield* Effect.andThen(capture(), reasonOf(capture())).pipe(using(url, { connections: 1 }))
        assert.strictEqual(second._tag, "Unknown")
        assert.strictEqual(requests.length, 2)
      }).pipe(Effect.scoped)
    )

    const odd: ReadonlyArray<readonly [string, string]> = [
      ["an error of the server", http(500, failure)],
      ["a gateway's error", http(502, "<html>bad gateway</html>")],
      ["busy without a time to come back", http(503, failure)],
      ["a success without words", "HTTP/1.1 204 X\r\n\r\n"],
      ["a success that cannot be read", http(200, "<html>welcome</html>")],
      ["a success under way", http(201, { ...payment, state: "processing" })],
      ["a success of another amount", http(201, { ...payment, amount: 1251 })],
      ["a success in another currency", http(201, { ...payment, currency: "USD" })],
      ["a way to somewhere else", http(302, "", ["location: http://127.0.0.1/payments"])],
      ["a request that came too slowly", http(408, failure)],
      ["a decline without a reason", http(402, "no")],
      ["an answer without end", http(201, { ...payment, filler: "x".repeat(70_000) })]
    ]
    for (const [what, text] of odd) {
      it.live(`when the answer is ${what}`, () =>
        Effect.map(whenSaid(text), (reason) => assert.strictEqual(reason._tag, "Unknown"))
      )
    }
  })

  it.live("keeps both sums as evidence when another amount was captured", () =>
    Effect.map(whenSaid(http(201, { ...payment, amount: 1251 })), (reason) => {
      assert(reason._tag === "Unknown")
      assert.strictEqual(reason.evidence, "captured 1251 EUR as py_1, not 1250 EUR")
    })
  )

  it.live("takes a refusal for what it is", () =>
    Effect.gen(function* () {
      const declined = yield* whenSaid(http(402, { error: { ...failure.error, payment: "py_9" } }))
      assert(declined._tag === "Declined")
      assert.deepStrictEqual([declined.code, declined.message, declined.ref], ["some_code", "Some words.", "py_9"])
      for (const status of [400, 401, 403, 404, 409, 422]) {
        const invalid = yield* whenSaid(http(status, failure))
        assert(invalid._tag === "Invalid")
        assert.strictEqual(invalid.code, "some_code")
      }
      const wordless = yield* whenSaid(http(401, ""))
      assert(wordless._tag === "Invalid")
      assert.strictEqual(wordless.code, "http_401")
      const running = yield* whenSaid(http(409, { error: { code: "idempotency_key_in_use", message: "" } }))
      assert(running._tag === "Busy" && running.limited)
    })
  )

  it.live("reads how long to stay away, in seconds or as a date", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* waitOf(503, "7"), 7000)
      assert.strictEqual(yield* waitOf(429, "0"), 0)
      assert.strictEqual(yield* waitOf(429, "Wed, 21 Oct 2015 07:28:00 GMT"), 0)
      assert.isAbove((yield* waitOf(503, "Wed, 21 Oct 2115 07:28:00 GMT")) ?? 0, 1e12)
      assert.isUndefined(yield* waitOf(429, "soon"))
      assert.isUndefined(yield* waitOf(429, ""))
    })
  )

  it.live("sends the same bytes for the same command, under its key, within its trace", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* rawServer(say(http(201, payment)))
      const { source, pspKey, description, currency, amount } = command
      const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
      const traceparent = `00-${traceId}-00f067aa0ba902b7-01`
      yield* Effect.andThen(
        capture(),
        capture({ description, source, amount, currency, pspKey, traceparent } as Capture)
      ).pipe(using(`${url}/v1/`))
      const [one = "", two = ""] = requests
      const [head = "", body] = two.split("\r\n\r\n")
      assert.strictEqual(one.split("\r\n\r\n")[1], body)
      assert.strictEqual(
        Buffer.from(body ?? "", "latin1").toString(),
        `{"amount":1250,"currency":"EUR","source":"tok_visa","description":"two “chairs”","reference":"${pspKey}"}`
      )
      assert.isTrue(head.startsWith("POST /v1/payments HTTP/1.1"))
      assert.match(head, /^idempotency-key: 00000000-0000-4000-8000-000000000001\r?$/im)
      assert.match(head, /^authorization: Bearer sk_secret\r?$/im)
      assert.match(head, new RegExp(`^traceparent: 00-${traceId}-[0-9a-f]{16}-01\r?$`, "im"))
    }).pipe(Effect.scoped)
  )

  it.live("stands under the trace that asked for it, or under its caller when that is of the same trace", () =>
    Effect.gen(function* () {
      const { url } = yield* rawServer(say(http(201, payment)))
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const parentOf = (name: string) =>
        Option.getOrUndefined(
          Option.map(spans.findLast((span) => span.name === name)?.parent ?? Option.none(), (p) => p.spanId)
        )
      yield* Effect.gen(function* () {
        const worker = yield* Effect.currentSpan
        yield* capture({ ...command, traceparent: `00-${worker.traceId}-00f067aa0ba902b7-01` })
        assert.strictEqual(parentOf("Psp.capture"), worker.spanId)
        yield* capture({ ...command, traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" })
        assert.strictEqual(parentOf("Psp.capture"), "00f067aa0ba902b7")
        yield* capture({ ...command, traceparent: "nonsense" })
        assert.strictEqual(parentOf("Psp.capture"), worker.spanId)
        assert.strictEqual(parentOf("POST"), spans.findLast(({ name }) => name === "Psp.capture")?.spanId)
      }).pipe(Effect.withSpan("worker"), Effect.provideService(Tracer.Tracer, tracer), using(url))
    }).pipe(Effect.scoped)
  )

  it.live("believes a lookup only about the key it asked for", () =>
    Effect.gen(function* () {
      const seen = yield* found([payment])
      assert(Option.isOption(seen) && Option.isSome(seen) && seen.value._tag === "Captured")
      assert.strictEqual(seen.value.ref, "py_1")
      assert.deepStrictEqual(yield* found([]), Option.none())
      assert.strictEqual(yield* found([{ ...payment, psp_key: "another" }]), "Unknown")
      assert.strictEqual(yield* found([payment, payment]), "Unknown")
      assert.strictEqual(yield* found(["?"]), "Unknown")
    })
  )

  const card = { token: "tok_visa", brand: "visa", last4: "4242", exp_month: 12, exp_year: 2034 }
  const source = Effect.flatMap(Psp, (psp) => psp.source("tok_visa"))
  /** What a card comes to when the provider says this. */
  const shown = (status: number, body: unknown, headers: ReadonlyArray<string> = []) =>
    Effect.flatMap(rawServer(say(http(status, body, headers))), ({ url }) =>
      Effect.result(source).pipe(using(url))
    ).pipe(
      Effect.scoped,
      Effect.map((result) => (result._tag === "Success" ? result.success : result.failure))
    )

  it.live("believes what is said of a card only in the provider's own words, about the card it asked for", () =>
    Effect.gen(function* () {
      const seen = yield* shown(200, card)
      assert(Option.isOption(seen) && Option.isSome(seen))
      assert.strictEqual(seen.value.last4, "4242")
      const gone = { error: { code: "invalid_source", message: "There is no such source." } }
      assert.deepStrictEqual(yield* shown(404, gone), Option.none())
      const odd: ReadonlyArray<readonly [status: number, body: unknown, tag: string, header?: string]> = [
        [200, { ...card, token: "tok_another" }, "Unknown"],
        [200, { ...card, last4: "4242424242424242" }, "Unknown"],
        [200, { ...card, exp_month: 13 }, "Unknown"],
        [200, { ...card, brand: "<b>visa" }, "Unknown"],
        [200, "not JSON", "Unknown"],
        [404, "", "Invalid"],
        [404, { error: { code: "http_404", message: "?" } }, "Invalid"],
        [401, gone, "Invalid"],
        [500, "", "Unknown"],
        [503, "", "Busy", "retry-after: 1"],
        [429, "", "Busy"]
      ]
      for (const [status, body, tag, header] of odd) {
        const failed = yield* shown(status, body, header === undefined ? [] : [header])
        assert(!Option.isOption(failed), `${status} ${JSON.stringify(body)}`)
        assert.strictEqual(failed.reason._tag, tag, `${status} ${JSON.stringify(body)}`)
      }
    })
  )

  it.live("keeps a token out of what it tells of a card's failure, whatever the provider repeats", () =>
    Effect.gen(function* () {
      const repeated = { error: { code: "forbidden", message: "You may not see tok_visa." } }
      for (const [status, body] of [
        [403, repeated],
        [500, "GET /sources/tok_visa failed"],
        [200, { ...card, last4: "tok_visa" }]
      ] as const) {
        assert.notInclude(inspect(yield* shown(status, body), { depth: 10 }), "tok_visa")
      }
      const { url } = yield* Effect.scoped(rawServer(() => {}))
      assert.notInclude(inspect(yield* Effect.flip(source).pipe(using(url)), { depth: 10 }), "tok_visa")
    })
  )

  it.live("never shows its key in what it keeps as evidence", () =>
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(rawServer(() => {}))
      const refused = yield* Effect.flip(capture()).pipe(using(url))
      assert.notInclude(inspect(refused, { depth: 10 }), "sk_secret")
    })
  )

  it.live("counts calls by what they came to, and how long they took", () =>
    Effect.gen(function* () {
      const { url } = yield* rawServer(say(http(429, "")))
      yield* reasonOf(capture()).pipe(using(url))
      const shown = yield* Metric.snapshot
      const calls = shown.filter(({ id }) => id === "cribwork_payments_psp_calls_total")
      assert.deepStrictEqual(
        calls.map(({ attributes }) => attributes),
        [{ operation: "capture", class: "busy" }]
      )
      assert.isTrue(shown.some(({ id }) => id === "cribwork_payments_psp_call_seconds"))
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  for (const [when, first] of [
    ["before an answer", ""],
    ["in the middle of one", "HTTP/1.1 201 X\r\ncontent-length: 100\r\n\r\n{"]
  ] as const) {
    it.live(`hangs up when its caller is interrupted ${when}`, () =>
      Effect.gen(function* () {
        const arrived = yield* Deferred.make<Socket>()
        const { url } = yield* rawServer((socket) => {
          socket.write(first)
          Deferred.doneUnsafe(arrived, Effect.succeed(socket))
        })
        yield* Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(capture(), { startImmediately: true })
          const socket = yield* Deferred.await(arrived)
          yield* Effect.sleep("20 millis")
          yield* Fiber.interrupt(fiber)
          yield* Effect.callback<void>((resume) => {
            if (socket.closed) resume(Effect.void)
            else socket.once("close", () => resume(Effect.void))
          })
        }).pipe(using(url))
      }).pipe(Effect.scoped, Effect.timeout("5 seconds"))
    )
  }
})

const millis = Duration.millis
