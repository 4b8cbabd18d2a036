import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"

import { assert, describe, it, layer } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Option, Redacted, Schedule } from "effect"

import { Psp } from "../../src/domain/payments/Psp.ts"
import * as HttpPsp from "../../src/layers/payments/HttpPsp.ts"
import * as PspTwin from "../../src/layers/payments/PspTwin.ts"
import { ScriptedBank } from "../../src/layers/payments/ScriptedPsp.ts"
import type { Payment } from "../../src/layers/payments/TwinBook.ts"
import * as TwinProcess from "../../src/layers/payments/TwinProcess.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"
import { processesOf } from "../support/Program.ts"
import { pspSuite } from "./Psp.suite.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-twin-"))),
  (dir) => Effect.sync(() => fs.rmSync(dir, { recursive: true, force: true }))
)

const settings = (environment: Record<string, string>) =>
  Settings.layer.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(environment))))

const inFile = (file: string, more: Record<string, string> = {}) =>
  settings({ TWIN_FILE: file, PSP_API_KEY: "sk_test", TWIN_TOKEN: "switch", ...more })

interface Said {
  readonly status: number
  readonly body: string
}

/** A request in which every header, `Host` too, is what it says. */
const ask = (method: string, url: string, headers: Record<string, string> = {}, body = "") =>
  Effect.callback<Said, Error>((resume) => {
    const request = http.request(url, { method, headers, agent: false }, (response) => {
      let text = ""
      response.on("data", (bytes) => (text += String(bytes)))
      response.on("end", () => resume(Effect.succeed({ status: response.statusCode ?? 0, body: text })))
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end(body)
  })

const statusOf = (...args: Parameters<typeof ask>) => Effect.map(ask(...args), ({ status }) => status)

/** The bank behind the twin's own doors. */
const bank = Layer.effect(
  ScriptedBank,
  Effect.map(TwinProcess.TwinAccess, ({ url, token }) =>
    ScriptedBank.of({
      captured: Effect.orDie(
        Effect.map(
          ask("GET", `${url}/_twin/payments`),
          ({ body }) => (JSON.parse(body) as { data: Array<Payment> }).data
        )
      ),
      switch: (name, alive) =>
        Effect.orDie(
          Effect.map(
            ask(
              "POST",
              `${url}/_twin/tokens/${name}`,
              { authorization: `Bearer ${Redacted.value(token)}` },
              JSON.stringify({ alive })
            ),
            ({ status }) => status === 200
          )
        )
    })
  )
)

const stack = (environment: Layer.Layer<Settings.Settings, Error>) =>
  Layer.merge(HttpPsp.layer, bank).pipe(Layer.provideMerge(TwinProcess.layer), Layer.provide(environment))

const inFolder = Layer.unwrap(Effect.map(folder, (dir) => stack(inFile(path.join(dir, "twin.jsonl")))))

layer(inFolder, { excludeTestServices: true, timeout: "30 seconds" })("HttpPsp", (it) =>
  pspSuite("HTTP, the twin", { promise: (title, body) => it.effect(title, () => body), passTime: () => Effect.void })
)

const visa = (n: number) => ({
  pspKey: `00000000-0000-4000-8000-1${String(n).padStart(11, "0")}`,
  amount: 1 + n,
  currency: "EUR",
  source: "tok_visa"
})
const lookup = (pspKey: string) => Effect.flatMap(Psp, (psp) => psp.lookup(pspKey))
const capture = (n: number) => Effect.flatMap(Psp, (psp) => psp.capture(visa(n)))

const alive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
const gone = (pid: number) =>
  Effect.suspend(() => (alive(pid) ? Effect.fail("alive" as const) : Effect.void)).pipe(
    Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "10 seconds" })))
  )

const groupOf = (pid: number) => fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[2]

/** Kills the first process that was told of this path, as soon as there is one. */
const killFirst = (told: string) =>
  Effect.suspend(() => {
    const [seen] = processesOf(told)
    return seen === undefined ? Effect.fail("nobody" as const) : Effect.sync(() => process.kill(seen.pid, "SIGKILL"))
  }).pipe(Effect.retry(Schedule.spaced("5 millis").pipe(Schedule.upTo({ duration: "10 seconds" }))))

describe("TwinProcess", () => {
  it.live(
    "is started again when it is killed before it listens",
    () =>
      Effect.gen(function* () {
        const file = path.join(yield* folder, "twin.jsonl")
        const started = yield* Effect.forkChild(
          Effect.exit(lookup(visa(0).pspKey).pipe(Effect.provide(stack(inFile(file)))))
        )
        yield* killFirst(file)
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(started)))
      }).pipe(Effect.scoped),
    40_000
  )

  it.live(
    "loses nothing it answered when it is killed under load, and comes back on the same port",
    () =>
      Effect.gen(function* () {
        const { pid } = yield* TwinProcess.TwinAccess
        const held = yield* Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n),
          (n) =>
            Effect.gen(function* () {
              if (n === 30) process.kill(Option.getOrThrow(yield* pid), "SIGKILL")
              return yield* Effect.exit(capture(n))
            }),
          { concurrency: 6 }
        )
        assert.isTrue(held.some(Exit.isFailure))
        const told = held.flatMap((exit) => (Exit.isSuccess(exit) ? [exit.value.ref] : []))
        const captured = yield* Effect.retry(
          Effect.andThen(
            lookup("00000000-0000-4000-8000-000000000000"),
            Effect.flatMap(ScriptedBank, (b) => b.captured)
          ),
          Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: "15 seconds" }))
        )
        assert.includeMembers(
          captured.map(({ id }) => id),
          told
        )
        // Whatever was unknown is settled by sending it again, and moves no money twice.
        yield* Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n),
          capture,
          { concurrency: 6 }
        )
        const after = yield* Effect.flatMap(ScriptedBank, (b) => b.captured)
        assert.strictEqual(after.length, 60)
        assert.strictEqual(new Set(after.map(({ psp_key }) => psp_key)).size, 60)
      }).pipe(Effect.provide(inFolder)),
    40_000
  )

  it.live(
    "ends with its scope",
    () =>
      Effect.gen(function* () {
        const pid = yield* Effect.flatMap(TwinProcess.TwinAccess, ({ pid }) => pid).pipe(Effect.provide(inFolder))
        yield* gone(Option.getOrThrow(pid))
      }),
    20_000
  )

  // The process group is read from /proc.
  it.live.skipIf(process.platform !== "linux")(
    "stands apart from our process group, so that Ctrl-C reaches it only through us",
    () =>
      Effect.gen(function* () {
        const pid = yield* Effect.flatMap(TwinProcess.TwinAccess, ({ pid }) => pid)
        assert.notStrictEqual(groupOf(Option.getOrThrow(pid)), groupOf(process.pid))
      }).pipe(Effect.provide(inFolder)),
    20_000
  )

  it.live(
    "leaves nothing behind when its parent is killed",
    () =>
      Effect.gen(function* () {
        const dir = yield* folder
        const pid = yield* Effect.acquireUseRelease(
          Effect.sync(() =>
            spawn(process.execPath, ["--input-type=module", "--eval", parent(path.join(dir, "twin.jsonl"))], {
              stdio: ["ignore", "pipe", "inherit"],
              cwd: path.resolve(import.meta.dirname, "../..")
            })
          ),
          (child) =>
            Effect.callback<number>((resume) => {
              createInterface({ input: child.stdout }).once("line", (line) => resume(Effect.succeed(Number(line))))
            }),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        assert.isAbove(pid, 0)
        yield* gone(pid)
      }).pipe(Effect.scoped),
    30_000
  )

  it.live(
    "says at once when it cannot start",
    () =>
      Effect.gen(function* () {
        const dir = yield* folder
        const file = path.join(dir, "twin.jsonl")
        fs.writeFileSync(file, "no money\n")
        const refused = yield* Effect.flip(Layer.build(TwinProcess.layer.pipe(Layer.provide(inFile(file)))))
        assert.strictEqual(refused._tag, "TwinProcessError")
        assert.include(refused.message, "before it listened")
      }).pipe(Effect.scoped),
    20_000
  )
})

const parent = (file: string) => `
  import { ConfigProvider, Effect, Layer, Option } from "effect"
  import * as TwinProcess from "./src/layers/payments/TwinProcess.ts"
  import * as Settings from "./src/layers/platform/Settings.ts"
  const given = ConfigProvider.layer(ConfigProvider.fromUnknown({ TWIN_FILE: ${JSON.stringify(file)} }))
  const twin = TwinProcess.layer.pipe(Layer.provide(Settings.layer), Layer.provide(given))
  Effect.runFork(Effect.gen(function* () {
    const { pid } = yield* TwinProcess.TwinAccess
    process.stdout.write(Option.getOrThrow(yield* pid) + "\\n")
    yield* Effect.never
  }).pipe(Effect.provide(twin)))
`

const twinAt = (file: string, more: Record<string, string> = {}) =>
  Layer.build(PspTwin.layer.pipe(Layer.provide(inFile(file, more))))

const inFreshFile = Effect.map(folder, (dir) => path.join(dir, "twin.jsonl"))
const urlIn = (file: string, more: Record<string, string> = {}) =>
  Effect.flatMap(twinAt(file, more), (context) => Effect.provide(PspTwin.TwinUrl, context))

const key = "00000000-0000-4000-8000-000000000001"
const order = JSON.stringify({ amount: 5, currency: "EUR", source: "tok_visa" })
const open = { "idempotency-key": key, authorization: "Bearer sk_test" }

describe("PspTwin", () => {
  it.live("answers to loopback's names only", () =>
    Effect.gen(function* () {
      const url = yield* urlIn(yield* inFreshFile)
      assert.strictEqual(yield* statusOf("GET", `${url}/_twin/payments`, { host: "bank.example" }), 403)
      assert.strictEqual(
        yield* statusOf("POST", `${url}/payments`, { ...open, host: "127.0.0.1.evil.com" }, order),
        403
      )
      assert.strictEqual(yield* statusOf("GET", `${url}/_twin/payments`, { host: "localhost:1" }), 200)
    }).pipe(Effect.scoped)
  )

  it.live("listens nowhere else, whatever HOST says", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(twinAt(yield* inFreshFile, { HOST: "0.0.0.0" }))
      assert.include(refused.message, "loopback only")
    }).pipe(Effect.scoped)
  )

  it.live("turns a switch for its own token only, and for nobody when it has none", () =>
    Effect.gen(function* () {
      const url = yield* urlIn(yield* inFreshFile)
      const dead = `${url}/_twin/tokens/tok_dead`
      const body = `{"alive": true}`
      assert.strictEqual(yield* statusOf("POST", dead, {}, body), 401)
      assert.strictEqual(yield* statusOf("POST", dead, { authorization: "Bearer sk_test" }, body), 401)
      assert.strictEqual(yield* statusOf("POST", dead, { authorization: "Bearer switch" }, body), 200)
      assert.strictEqual(yield* statusOf("POST", dead, { authorization: "Bearer switch" }, `{"alive": 1}`), 422)
      assert.strictEqual(
        yield* statusOf("POST", `${url}/_twin/tokens/tok_visa`, { authorization: "Bearer switch" }, body),
        404
      )
      const without = yield* urlIn(yield* inFreshFile, { TWIN_TOKEN: "" })
      assert.strictEqual(
        yield* statusOf("POST", `${without}/_twin/tokens/tok_dead`, { authorization: "Bearer " }, body),
        401
      )
    }).pipe(Effect.scoped)
  )

  it.live("shows cards to those who hold the provider's key, and is made unwell by those who hold its own", () =>
    Effect.gen(function* () {
      const url = yield* urlIn(yield* inFreshFile)
      const visa = `${url}/sources/tok_visa`
      const holder = { authorization: open.authorization }
      assert.strictEqual(yield* statusOf("GET", visa), 401)
      assert.strictEqual(
        (yield* ask("GET", visa, holder)).body,
        `{"token":"tok_visa","brand":"visa","last4":"4242","exp_month":12,"exp_year":2034}`
      )
      assert.strictEqual(yield* statusOf("GET", `${url}/sources/toString`, holder), 404)

      const health = `${url}/_twin/health`
      const operator = { authorization: "Bearer switch" }
      const dead = `{"answers": false, "delay_ms": 0}`
      assert.strictEqual(yield* statusOf("PUT", health, {}, dead), 401)
      assert.strictEqual(yield* statusOf("PUT", health, holder, dead), 401)
      for (const wrong of [
        `{"answers": false}`,
        `{"answers": true, "delay_ms": 60001}`,
        `{"answers": 0, "delay_ms": 0}`
      ]) {
        assert.strictEqual(yield* statusOf("PUT", health, operator, wrong), 422, wrong)
      }
      assert.strictEqual(yield* statusOf("GET", visa, holder), 200)
      assert.strictEqual(yield* statusOf("PUT", health, operator, dead), 200)
      assert.strictEqual((yield* Effect.exit(statusOf("GET", visa, holder)))._tag, "Failure")
      assert.strictEqual(yield* statusOf("GET", `${url}/_twin/payments`), 200)
      assert.strictEqual(yield* statusOf("PUT", health, operator, `{"answers": true, "delay_ms": 0}`), 200)
      assert.strictEqual(yield* statusOf("GET", visa, holder), 200)
    }).pipe(Effect.scoped)
  )

  it.live("takes no money without the provider's key, a uuid, and a body it understands", () =>
    Effect.gen(function* () {
      const url = yield* urlIn(yield* inFreshFile)
      const at = `${url}/payments`
      assert.strictEqual(yield* statusOf("POST", at, { "idempotency-key": key }, order), 401)
      assert.strictEqual(yield* statusOf("GET", `${at}?psp_key=${key}`), 401)
      assert.strictEqual(yield* statusOf("POST", at, { authorization: open.authorization }, order), 400)
      assert.strictEqual(yield* statusOf("POST", at, { ...open, "idempotency-key": "one" }, order), 400)
      assert.strictEqual(yield* statusOf("POST", at, open, "{"), 422)
      assert.strictEqual(
        yield* statusOf("POST", at, open, `{"amount": 5, "currency": "EUR", "source": "x", "y": 1}`),
        422
      )
      assert.strictEqual(yield* statusOf("POST", at, open, " ".repeat(70_000)), 413)
      assert.strictEqual(yield* statusOf("GET", `${at}?psp_key=${key}`, { authorization: open.authorization }), 200)
      const nowhere = yield* ask("GET", `${url}/nowhere`)
      assert.strictEqual(nowhere.status, 404)
      assert.include(nowhere.body, `{"error":{"code":"http_404"`)
      assert.strictEqual((yield* ask("GET", `${url}/_twin/payments`)).body, `{"data":[],"next_cursor":null}`)
    }).pipe(Effect.scoped)
  )

  it.live("hangs up on a client that is in the middle of a request when it stops", () =>
    Effect.gen(function* () {
      const file = yield* inFreshFile
      const head = "POST /payments HTTP/1.1\r\nhost: localhost\r\n"
      const client = yield* Effect.gen(function* () {
        const { port } = new URL(yield* urlIn(file))
        const client = yield* Effect.callback<net.Socket>((resume) => {
          const socket = net.connect(Number(port), "127.0.0.1", () =>
            socket.write(head, () => resume(Effect.succeed(socket)))
          )
          socket.on("error", () => {}).resume()
        })
        // Answered, so that the other request is known to have arrived.
        assert.strictEqual(yield* statusOf("GET", `http://127.0.0.1:${port}/_twin/payments`), 200)
        return client
      }).pipe(Effect.scoped)
      yield* Effect.callback<void>((resume) => {
        if (client.closed) resume(Effect.void)
        else client.once("close", () => resume(Effect.void))
      })
    }).pipe(Effect.scoped, Effect.timeout("4 seconds"))
  )

  it.live(
    "shares its file with nobody, and takes it over when it is left",
    () =>
      Effect.gen(function* () {
        const file = yield* inFreshFile
        yield* Effect.gen(function* () {
          const url = yield* urlIn(file)
          assert.strictEqual(yield* statusOf("POST", `${url}/payments`, open, order), 201)
          const other = yield* Effect.flip(twinAt(file))
          assert.include(other.message, "another twin uses this file")
        }).pipe(Effect.scoped)
        const again = yield* urlIn(file)
        assert.include((yield* ask("GET", `${again}/_twin/payments`)).body, key)
      }).pipe(Effect.scoped),
    20_000
  )

  it.live("cuts off a line that was torn, and refuses one that was changed", () =>
    Effect.gen(function* () {
      const file = yield* inFreshFile
      const charge = Effect.flatMap(urlIn(file), (url) => statusOf("POST", `${url}/payments`, open, order)).pipe(
        Effect.scoped
      )
      yield* charge
      const whole = fs.readFileSync(file, "utf8")
      fs.appendFileSync(file, whole.slice(0, 30))
      assert.strictEqual(yield* charge, 201)
      assert.isTrue(fs.readFileSync(file, "utf8").startsWith(whole))
      const listed = yield* Effect.flatMap(urlIn(file), (url) => ask("GET", `${url}/_twin/payments`)).pipe(
        Effect.scoped
      )
      assert.include(listed.body, `"sends":2`)
      fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(`"_tag":"settled"`, `"_tag":"guessed"`))
      assert.include((yield* Effect.flip(twinAt(file))).message, "line 2 cannot be read")
    }).pipe(Effect.scoped)
  )
})
