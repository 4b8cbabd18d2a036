import { spawn } from "node:child_process"
import { inspect } from "node:util"

import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Logger, Redacted, Schema } from "effect"

import { backoff, layer, Redis } from "../../src/layers/platform/Redis.ts"
import type { RedisOptions } from "../../src/layers/platform/Redis.ts"
import * as RedisServer from "../support/RedisServer.ts"

const silent = Logger.layer([])
const quick = {
  backoffBase: Duration.millis(5),
  backoffCap: Duration.millis(20),
  silenceMax: Duration.millis(100),
  bootWait: Duration.millis(500)
}
const client = (url: Redacted.Redacted, options: Partial<RedisOptions> = {}) =>
  Effect.map(Layer.build(layer(url, { ...quick, ...options }).pipe(Layer.provide(silent))), Context.get(Redis))
const ping = (redis: Redis["Service"]) => redis.use("50 millis", (client) => client.ping())
const answering = (redis: Redis["Service"]) =>
  Effect.gen(function* () {
    while (!(yield* redis.ready)) yield* Effect.sleep("2 millis")
  })
const away = (redis: Redis["Service"]) =>
  Effect.gen(function* () {
    while (yield* redis.ready) yield* Effect.sleep("2 millis")
  })

/** Builds the layer in a process of its own, closes it, and waits for that process to end by itself. */
const leaves = (url: Redacted.Redacted) =>
  Effect.callback<{ readonly code: number | null; readonly said: string; readonly lingered: number }>((resume) => {
    const program = `
      import { Effect, Layer, Redacted } from "effect"
      import { layer, Redis } from "${import.meta.resolve("../../src/layers/platform/Redis.ts")}"
      const asked = Effect.flip(Redis.use((redis) => redis.use("50 millis", (client) => client.ping())))
      const options = { bootWait: "200 millis" }
      await Effect.runPromise(Effect.provide(asked, layer(Redacted.make(process.argv[1]), options)))
      process.stdout.write("closed")`
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, Redacted.value(url)])
    let said = ""
    let closed = 0
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        said += chunk.toString()
        if (said.endsWith("closed")) closed = performance.now()
      })
    child.once("close", (code) => resume(Effect.succeed({ code, said, lingered: performance.now() - closed })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

describe("Redis, absent", () => {
  const nowhere = Redacted.make("redis://:hunter2@127.0.0.1:1")

  it.live("starts without a server, and refuses at once instead of queueing", () =>
    Effect.gen(function* () {
      const redis = yield* client(nowhere)
      assert.isFalse(yield* redis.ready)
      const [waited, error] = yield* Effect.timed(Effect.flip(ping(redis)))
      assert(error._tag === "RedisUnavailable")
      assert.include(error.detail, "ECONNREFUSED")
      assert.isBelow(Duration.toMillis(waited), 200)
    })
  )

  it.live("never lets the password out", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const write = Logger.make(({ message }) => void lines.push(String(message)))
      const heard = layer(nowhere).pipe(Layer.provide(Logger.layer([write])))
      const error = yield* Effect.flip(Redis.use(ping)).pipe(Effect.provide(heard))
      assert.isNotEmpty(lines)
      assert.notInclude(`${lines.join()} ${inspect(error, { depth: 9 })}`, "hunter2")
    })
  )

  it.live("leaves nothing that keeps a process alive, and says nothing outside the log", () =>
    Effect.gen(function* () {
      const { code, said, lingered } = yield* leaves(nowhere)
      assert.strictEqual(code, 0)
      assert.isBelow(lingered, 1500)
      assert.match(said, /closed$/)
      assert.notMatch(said, /hunter2|\[ioredis\]/)
    })
  )

  const drawn = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
  const attempt = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))
  it.prop("pauses between half and all of a step that doubles up to the cap", { attempt, drawn }, (given) => {
    const options = { backoffBase: Duration.millis(50), backoffCap: Duration.seconds(2) }
    const step = Math.min(2000, 50 * 2 ** (given.attempt - 1))
    const pause = backoff(options, given.attempt, given.drawn)
    assert.isAtLeast(pause, step / 2)
    assert.isAtMost(pause, step)
  })
})

// It kills the server it talks to, so it starts one of its own.
describe.runIf(RedisServer.installed)("Redis (needs redis-server in the PATH)", () => {
  it.live("answers typed commands, and tells a refusal from an absence", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const redis = yield* client(server.url)
      yield* redis.use("1 second", (client) => client.set("key", "value", "EX", 60, "NX"))
      assert.strictEqual(yield* redis.use("1 second", (client) => client.get("key")), "value")
      const error = yield* Effect.flip(redis.use("1 second", (client) => client.lpush("key", "x")))
      assert(error._tag === "RedisRefused")
      assert.strictEqual(error.code, "WRONGTYPE")
    })
  )

  it.live("connects when the server comes, and again after it was killed", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      const redis = yield* client(server.url)
      for (let life = 0; life < 2; life++) {
        assert.strictEqual((yield* Effect.flip(ping(redis)))._tag, "RedisUnavailable")
        yield* server.start
        yield* answering(redis)
        assert.strictEqual(yield* ping(redis), "PONG")
        yield* server.kill
        yield* away(redis)
      }
    })
  )

  it.live("answers in time while the server hangs, soon without waiting, and returns with it", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const redis = yield* client(server.url)
      yield* server.freeze
      assert.strictEqual((yield* Effect.flip(ping(redis)))._tag, "RedisTimeout")
      yield* away(redis)
      assert.strictEqual((yield* Effect.flip(ping(redis)))._tag, "RedisUnavailable")
      yield* server.thaw
      yield* answering(redis)
      assert.strictEqual(yield* ping(redis), "PONG")
    })
  )

  it.live("sends nothing twice, whatever became of the answer", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const redis = yield* client(server.url)
      yield* server.freeze
      yield* Effect.flip(redis.use("20 millis", (client) => client.incr("count")))
      yield* away(redis)
      yield* server.thaw
      yield* answering(redis)
      assert.strictEqual(yield* redis.use("1 second", (client) => client.get("count")), "1")
    })
  )

  it.live("holds no more unanswered commands than it may", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      const redis = yield* client(server.url, { unansweredMax: 3, silenceMax: Duration.seconds(5) })
      yield* server.freeze
      const errors = yield* Effect.all(
        Array.from({ length: 5 }, () => Effect.flip(ping(redis))),
        {
          concurrency: "unbounded"
        }
      )
      assert.deepStrictEqual(
        errors.map(({ _tag }) => _tag),
        ["RedisTimeout", "RedisTimeout", "RedisTimeout", "RedisUnavailable", "RedisUnavailable"]
      )
      yield* server.thaw
      while ((yield* Effect.exit(ping(redis)))._tag === "Failure") yield* Effect.sleep("2 millis")
    })
  )

  it.live("closes although the server hangs", () =>
    Effect.gen(function* () {
      const server = yield* RedisServer.make
      yield* server.start
      yield* server.freeze
      const { code, said, lingered } = yield* leaves(server.url)
      assert.strictEqual(code, 0)
      assert.isBelow(lingered, 1500)
      assert.match(said, /closed$/)
    })
  )
})
