/** `up`, `down` and `status` on a real Redis, in a checkout and a cache of their own. */
import * as fs from "node:fs"
import * as os from "node:os"
import { setImmediate } from "node:timers/promises"

import { afterAll, afterEach, assert, it, vi } from "@effect/vitest"

import { down, exitCodes, status, up } from "../../tools/servers/Commands.ts"
import { homeOf } from "../../tools/servers/Home.ts"
import { commandLine } from "../../tools/servers/Process.ts"
import { readRecord, record } from "../../tools/servers/Record.ts"
import { describeLive } from "../support/Live.ts"

describeLive("servers up, down and status", ["redis"], () => {
  const folder = fs.mkdtempSync(`${os.tmpdir()}/cribwork-commands-`)
  const home = homeOf(folder, `${folder}/cache`)
  fs.mkdirSync(home.dir, { recursive: true })
  const said = vi.spyOn(process.stdout, "write").mockReturnValue(true)
  const words = () => said.mock.calls.map(([text]) => String(text)).join("")
  const noted = () => readRecord(home).redis ?? { ports: {}, pids: [] }
  const pid = () => noted().pids?.[0] ?? 0

  afterEach(() => said.mockClear())
  afterAll(async () => {
    await down(home, ["redis"])
    said.mockRestore()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it("is not up before it was started, and has no env file", async () => {
    assert.strictEqual(await status(home, ["redis"]), exitCodes.notUp)
    assert.isFalse(fs.existsSync(home.envFile))
  })

  it("is up once, however often it is started", async () => {
    assert.strictEqual(await up(home, ["redis"]), exitCodes.done)
    const first = noted()
    assert.strictEqual(await up(home, ["redis"]), exitCodes.done)
    assert.deepStrictEqual(noted(), first)
    assert.strictEqual(await status(home, ["redis"]), exitCodes.done)
    assert.match(words(), /answers in \d+ ms/)
    assert.include(
      fs.readFileSync(home.envFile, "utf8"),
      `export REDIS_URL='redis://127.0.0.1:${first.ports["client"]}'`
    )
  })

  it("comes back on the same port after a crash", async () => {
    const { ports } = noted()
    process.kill(pid(), "SIGKILL")
    assert.strictEqual(await up(home, ["redis"]), exitCodes.done)
    assert.deepStrictEqual(noted().ports, ports)
    assert.include(commandLine(pid()), home.dir)
  })

  it("tells a server that is there and silent from one that answers", async () => {
    process.kill(pid(), "SIGSTOP")
    assert.strictEqual(await status(home, ["redis"]), exitCodes.notUp)
    assert.include(words(), "does not answer: no answer within")
    process.kill(pid(), "SIGCONT")
    assert.strictEqual(await status(home, ["redis"]), exitCodes.done)
  })

  it("never touches a foreign process whose pid was written down, and still finds its own", async () => {
    const { ports } = noted()
    const own = pid()
    record(home, "redis", { ports, pids: [process.pid] })
    assert.strictEqual(await down(home, ["redis"]), exitCodes.done)
    assert.strictEqual(commandLine(own), "")
    assert.isFalse(fs.existsSync(home.envFile))
  })

  it("fails with the end of the log when a server does not live", async () => {
    fs.writeFileSync(`${folder}/redis-server`, `#!/bin/sh\necho "v=7.0.15 of all things"\n`, { mode: 0o755 })
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`)
    assert.strictEqual(await up(home, ["redis"]), exitCodes.failed)
    vi.unstubAllEnvs()
    assert.match(words(), /redis: it ended at once; the end of .*\/redis\.log:\n {4}v=7\.0\.15 of all things/)
    assert.isFalse(fs.existsSync(home.envFile))
  })
})

describeLive("servers up, of several processes", ["redis-cluster"], () => {
  const folder = fs.mkdtempSync(`${os.tmpdir()}/cribwork-cluster-`)
  const home = homeOf(folder, `${folder}/cache`)
  fs.mkdirSync(home.dir, { recursive: true })
  const pids = () => readRecord(home)["redis-cluster"]?.pids ?? []

  afterEach(async () => {
    await down(home, ["redis-cluster"])
    vi.restoreAllMocks()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it(
    "is up when all of them run, started again as a whole when one is gone, and down with all",
    { timeout: 60_000 },
    async () => {
      const said = vi.spyOn(process.stdout, "write").mockReturnValue(true)
      assert.strictEqual(await up(home, ["redis-cluster"]), exitCodes.done)
      const first = pids()
      assert.lengthOf(first, 3)
      assert.include(fs.readFileSync(home.envFile, "utf8"), "export REDIS_CLUSTER_URL='redis+cluster://127.0.0.1:")
      process.kill(first[1] ?? 0, "SIGKILL")
      while (commandLine(first[1] ?? 0) !== "") await setImmediate()
      assert.strictEqual(await status(home, ["redis-cluster"]), exitCodes.notUp)
      assert.include(said.mock.calls.join(""), "redis-cluster: not up, 2 of 3 processes run")
      assert.strictEqual(await up(home, ["redis-cluster"]), exitCodes.done)
      assert.strictEqual(commandLine(first[0] ?? 0), "")
      const second = pids()
      assert.strictEqual(await down(home, ["redis-cluster"]), exitCodes.done)
      assert.deepStrictEqual(second.map(commandLine), ["", "", ""])
    }
  )
})
