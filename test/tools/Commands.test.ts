/** `up`, `down` and `status` on a real Redis, in a checkout and a cache of their own. */
import * as fs from "node:fs"
import * as os from "node:os"

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
  const noted = () => readRecord(home).redis ?? { ports: {}, pid: 0 }
  const pid = () => noted().pid ?? 0

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
    const { ports, pid: own = 0 } = noted()
    record(home, "redis", { ports, pid: process.pid })
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
