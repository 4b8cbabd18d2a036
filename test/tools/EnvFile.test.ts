import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"

import { afterAll, assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { withoutPassword } from "../../tools/servers/Commands.ts"
import { envText, writeEnv } from "../../tools/servers/EnvFile.ts"
import { cacheRoot, homeOf } from "../../tools/servers/Home.ts"
import { javaMajor } from "../../tools/servers/KafkaJars.ts"
import { majorVersion } from "../../tools/servers/PostgresPrograms.ts"
import { readRecord, record } from "../../tools/servers/Record.ts"
import { redisConfig, redisVersion } from "../../tools/servers/RedisServer.ts"

const folder = fs.mkdtempSync(`${os.tmpdir()}/cribwork-env-`)
const home = homeOf(folder, `${folder}/cache`)

const listed = (url: string) => ({
  name: "redis" as const,
  variable: "REDIS_URL",
  up: { process: "pid 7", url, log: "/log", notes: ["a note"] }
})

/** What a child of a shell that sourced the file sees. */
const sourced = (file: string) =>
  execFileSync("sh", ["-c", `. "$1"; exec node -p 'process.env.REDIS_URL'`, "sh", file], { encoding: "utf8" })

describe("EnvFile", () => {
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  it("hands its URLs to children by `source` alone", () => {
    const url = `redis://u:it's $HOME "$(id)" \`id\` \\ !@127.0.0.1:1`
    writeEnv(home, [listed(url)])
    assert.strictEqual(sourced(home.envFile), `${url}\n`)
  })

  it("is for its owner's eyes only, and gone when nothing is up", () => {
    writeEnv(home, [listed("redis://127.0.0.1:1")])
    assert.strictEqual(fs.statSync(home.envFile).mode & 0o777, 0o600)
    writeEnv(home, [{ name: "redis", variable: "REDIS_URL" }])
    assert.isFalse(fs.existsSync(home.envFile))
  })

  it("sets nothing for a server that is not up, and says how to start it", () => {
    const text = envText([listed("redis://127.0.0.1:1"), { name: "kafka", variable: "KAFKA_BROKERS" }])
    assert.notInclude(text, "export KAFKA_BROKERS")
    assert.include(text, "# kafka is not up: npm run servers -- up kafka")
  })

  it.prop(
    "shows no password in a terminal",
    { password: Schema.NonEmptyString.check(Schema.isPattern(/^[A-Za-z0-9_-]{8,}$/)) },
    ({ password }) => {
      const shown = withoutPassword(`postgres://cribwork:${password}@127.0.0.1:20001/cribwork`)
      assert.strictEqual(shown, "postgres://cribwork:…@127.0.0.1:20001/cribwork")
    }
  )
})

describe("Home", () => {
  it("keeps two checkouts apart", () => {
    assert.notStrictEqual(homeOf("/a", "/cache").dir, homeOf("/b", "/cache").dir)
  })

  it("takes XDG_CACHE_HOME when it is absolute", () => {
    assert.strictEqual(cacheRoot({ XDG_CACHE_HOME: "/var/cache/me" }, "/home/me"), "/var/cache/me/cribwork")
    assert.strictEqual(cacheRoot({ XDG_CACHE_HOME: "relative" }, "/home/me"), "/home/me/.cache/cribwork")
    assert.strictEqual(cacheRoot({}, "/home/me"), "/home/me/.cache/cribwork")
  })
})

describe("Record", () => {
  it("remembers each server by itself, and takes a spoilt page for an empty one", () => {
    record(home, "redis", { ports: { client: 20_001 }, pids: [7] })
    record(home, "postgres", { ports: { client: 20_002 } })
    assert.deepStrictEqual(readRecord(home), {
      redis: { ports: { client: 20_001 }, pids: [7] },
      postgres: { ports: { client: 20_002 } }
    })
    fs.writeFileSync(`${home.dir}/servers.json`, `{"redis":{"ports`)
    assert.deepStrictEqual(readRecord(home), {})
  })
})

describe("versions", () => {
  it("are read from what programs say of themselves", () => {
    assert.strictEqual(javaMajor(`openjdk version "17.0.15" 2025-04-15`), 17)
    assert.strictEqual(javaMajor(`openjdk version "21" 2023-09-19`), 21)
    assert.strictEqual(javaMajor(`java version "1.8.0_292"`), 8)
    assert.strictEqual(javaMajor("sh: java: not found"), 0)
    assert.strictEqual(majorVersion("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), 15)
    assert.strictEqual(majorVersion("postgres (PostgreSQL) 19devel"), 19)
    assert.isUndefined(majorVersion("Segmentation fault"))
    assert.deepStrictEqual(redisVersion("Redis server v=7.0.15 sha=00000000:0"), [7, 0])
  })

  it("decide whether Redis is told to leave its command line alone", () => {
    assert.include(redisConfig(home, { client: 1 }, [7, 0]), "set-proc-title no")
    assert.include(redisConfig(home, { client: 1 }, [6, 2]), "set-proc-title no")
    assert.notInclude(redisConfig(home, { client: 1 }, [6, 0]), "set-proc-title")
  })
})
