import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"

import { afterAll, assert, describe, it } from "@effect/vitest"

import { homeOf } from "../../tools/servers/Home.ts"
import { kafkaServer } from "../../tools/servers/KafkaServer.ts"
import { postgresServer } from "../../tools/servers/PostgresServer.ts"
import { commandLine, findRunning, start, stop, tail } from "../../tools/servers/Process.ts"
import { redisCluster } from "../../tools/servers/RedisCluster.ts"
import { redisServer } from "../../tools/servers/RedisServer.ts"

const folder = fs.mkdtempSync(`${os.tmpdir()}/cribwork-process-`)
const log = `${folder}/log`
const mark = `${folder}/mark`

/** A process that says when it listens for signals, and may be deaf to TERM. */
const program = (deaf: boolean) =>
  start({
    argv: [
      process.execPath,
      "-e",
      `${deaf ? `process.on("SIGTERM", () => {});` : ""} setInterval(() => {}, 1000); console.log("listens")`,
      mark
    ],
    log
  })

const listening = async () => {
  while (!fs.readFileSync(log, "utf8").includes("listens")) await new Promise((resolve) => setImmediate(resolve))
}

const nobodys = () => false
const ours = (line: string) => line.endsWith(mark)

describe("Process", () => {
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  it("leaves a process alone that is not ours, whatever pid was written down", async () => {
    const foreign = await program(false)
    const pid = foreign.pid ?? 0
    assert.isEmpty(findRunning(nobodys, [pid], 1))
    assert.strictEqual(await stop(pid, nobodys, "SIGKILL", 1000), "stopped")
    assert.isTrue(ours(commandLine(pid)))
    foreign.kill("SIGTERM")
    // Had it been killed above, it would have ended by that signal.
    assert.deepStrictEqual(await once(foreign, "exit"), [null, "SIGTERM"])
  })

  it("finds ours when the record is lost or names somebody else", async () => {
    const child = await program(false)
    assert.strictEqual(findRunning(ours, [], 1)[0]?.pid, child.pid)
    assert.strictEqual(findRunning(ours, [process.pid], 1)[0]?.pid, child.pid)
    assert.strictEqual(await stop(child.pid ?? 0, ours, "SIGTERM", 5000), "stopped")
    assert.isEmpty(findRunning(ours, [child.pid ?? 0], 1))
  })

  it("kills what does not leave when asked", async () => {
    const child = await program(true)
    await listening()
    assert.strictEqual(await stop(child.pid ?? 0, ours, "SIGTERM", 200), "killed")
    assert.strictEqual(commandLine(child.pid ?? 0), "")
  })

  it("keeps the log of the run before", async () => {
    fs.writeFileSync(log, "why it crashed\n")
    const child = await program(false)
    await stop(child.pid ?? 0, ours, "SIGTERM", 5000)
    assert.include(tail(`${log}.before`), "why it crashed")
  })

  it("says which program cannot be run", async () => {
    const failed = await start({ argv: [`${folder}/absent`], log }).catch((error: Error) => error)
    assert.include(String(failed), `${folder}/absent cannot be run`)
  })
})

describe("servers know their own process", () => {
  const home = homeOf("/home/a/cribwork", "/home/a/.cache/cribwork")
  const other = homeOf("/home/a/second", "/home/a/.cache/cribwork")
  fs.mkdirSync(folder, { recursive: true })
  const ports = { client: 20_001, controller: 20_002, fault: 20_003, proxy: 20_004 }

  it("redis, by its configuration or, when it has written over it, by its port", () => {
    const owns = (line: string) => redisServer.owns(home, ports, line)
    assert.isTrue(owns(`/usr/bin/redis-server ${home.dir}/redis.conf`))
    assert.isTrue(owns("/usr/bin/redis-server 127.0.0.1:20001"))
    assert.isFalse(owns(`/usr/bin/redis-server ${other.dir}/redis.conf`))
    assert.isFalse(owns("/usr/bin/redis-server 127.0.0.1:6379"))
    assert.isFalse(owns(`vim ${home.dir}/redis.conf`))
    assert.isFalse(owns(""))
  })

  it("redis-cluster, each of its nodes by its configuration", () => {
    const owns = (line: string) => redisCluster.owns(home, ports, line)
    for (const node of [1, 2, 3]) assert.isTrue(owns(`redis-server ${home.dir}/redis-cluster-${node}/redis.conf`))
    assert.isFalse(owns(`redis-server ${home.dir}/redis.conf`))
    assert.isFalse(owns(`redis-server ${other.dir}/redis-cluster-1/redis.conf`))
    assert.isFalse(owns(""))
  })

  it("kafka, by its properties", () => {
    const owns = (line: string) => kafkaServer.owns(home, ports, line)
    assert.isTrue(owns(`/usr/bin/java -Xmx384m -cp /lib/* kafka.Kafka ${home.dir}/kafka.properties`))
    assert.isFalse(owns(`/usr/bin/java -Xmx384m -cp /lib/* kafka.Kafka ${other.dir}/kafka.properties`))
    assert.isFalse(owns(`tail -f kafka.Kafka ${home.dir}/kafka.properties`))
    assert.isFalse(owns(""))
  })

  it("postgres, by its data folder and not by a folder inside it", () => {
    const here = homeOf("/a", folder)
    fs.mkdirSync(here.dir, { recursive: true })
    fs.chmodSync(folder, 0o755)
    const owns = (line: string) => postgresServer.owns(here, ports, line)
    assert.isTrue(owns(`/usr/lib/postgresql/15/bin/postgres -D ${here.dir}/postgres-15 -p 20001`))
    assert.isFalse(owns(`/usr/lib/postgresql/15/bin/postgres -D ${folder}/servers/other/postgres-15 -p 20001`))
    assert.isFalse(owns("/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main"))
    assert.isFalse(owns(`/usr/bin/pg_ctl -D ${here.dir}/postgres-15 start`))
    assert.isFalse(owns(""))
  })
})
