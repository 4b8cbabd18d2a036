/** One real Kafka node, broker and controller in one JVM of about 200 MB, on data that stays. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

import type { Home } from "./Home.ts"
import { writeWhole } from "./Home.ts"
import { classArchive, findJava, kafkaJars } from "./KafkaJars.ts"
import type { KafkaPorts } from "./KafkaProperties.ts"
import { kafkaProperties, propertiesText } from "./KafkaProperties.ts"
import { lastLines, run } from "./Machine.ts"
import { choosePorts, isFree } from "./Ports.ts"
import { during } from "./Progress.ts"
import type { Ports, Server } from "./Server.ts"
import { Trouble } from "./Trouble.ts"
import { exchange } from "./Wire.ts"

const roles = ["client", "controller", "fault", "proxy"] as const
const startMillis = 180_000
const graceMillis = 30_000
const pollMillis = 100

/** Any fixed one will do: nothing else joins this cluster. */
const clusterId = "Q3JpYndvcmtLYWZrYU9uZQ"

const jvmFlags = [
  "-Xms128m",
  "-Xmx384m",
  "-XX:+UseSerialGC",
  "-XX:TieredStopAtLevel=1",
  "-XX:-UsePerfData",
  "-Xss256k",
  "-XX:MaxDirectMemorySize=128m"
]

const logFile = (home: Home) => path.join(home.dir, "kafka.log")
const propertiesFile = (home: Home) => path.join(home.dir, "kafka.properties")

const named = (ports: Ports): KafkaPorts => ({
  client: ports["client"] ?? 0,
  controller: ports["controller"] ?? 0,
  fault: ports["fault"] ?? 0,
  proxy: ports["proxy"] ?? 0
})

/** Lays out the metadata log beside its place and moves it there when it is whole. */
const format = async (java: string, jars: string, flags: ReadonlyArray<string>, ports: KafkaPorts, data: string) => {
  const half = `${data}.half`
  const properties = `${half}.properties`
  fs.rmSync(half, { recursive: true, force: true })
  writeWhole(properties, propertiesText(kafkaProperties(ports, half)))
  const args = [...flags, "-cp", `${jars}/*`, "kafka.tools.StorageTool", "format", "-t", clusterId, "-c", properties]
  const ran = await during("formatting Kafka's storage", () => run(java, args))
  fs.rmSync(properties, { force: true })
  if (ran.code !== 0) throw new Trouble(`Kafka's storage cannot be formatted:\n${lastLines(ran.output)}`)
  fs.renameSync(half, data)
}

/** A Metadata request, version 1, for no topics, from a client called "x". */
const metadataRequest = Buffer.from("0000000f000300010000000700017800000000", "hex")
const brokersAt = 8

const hasFrame = (bytes: Buffer) => bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)

const askMetadata = async (port: number): Promise<void> => {
  const answer = await exchange(port, metadataRequest, hasFrame)
  if (answer.length < brokersAt + 4 || answer.readInt32BE(brokersAt) < 1) throw new Error("it lists no broker yet")
}

/** Runs its arguments until they end or the pipe closes, as it does when we end, however we end. */
const untilPipeCloses = `"$@" & child=$!; (read _; kill -TERM $child) <&3 2>/dev/null & wait $child`

/** Starts on scratch data, waits for an answer, stops: on the way out the JVM writes the archive. */
const rehearse = async (home: Home, java: string, jars: string, archive: string): Promise<void> => {
  const scratch = path.join(home.dir, "rehearsal")
  fs.rmSync(scratch, { recursive: true, force: true })
  fs.mkdirSync(scratch)
  try {
    const ports = named(await choosePorts(roles, {}, [], home.id, isFree))
    const data = path.join(scratch, "data")
    await format(java, jars, jvmFlags, ports, data)
    const properties = path.join(scratch, "kafka.properties")
    writeWhole(properties, propertiesText(kafkaProperties(ports, data)))
    const jvm = [...jvmFlags, `-XX:ArchiveClassesAtExit=${archive}`, "-cp", `${jars}/*`, "kafka.Kafka", properties]
    const child = spawn("/bin/sh", ["-c", untilPipeCloses, "sh", java, ...jvm], {
      cwd: scratch,
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "pipe"]
    })
    const ended = once(child, "exit")
    for (const end = performance.now() + startMillis; child.exitCode === null && performance.now() < end;) {
      const answers = await askMetadata(ports.client).then(
        () => true,
        () => false
      )
      if (answers) break
      await sleep(pollMillis)
    }
    child.stdio[3]?.destroy()
    const bound = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), graceMillis)
    await ended
    clearTimeout(bound)
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

export const kafkaServer: Server = {
  name: "kafka",
  variable: "KAFKA_BROKERS",
  roles,
  processes: 1,
  politeSignal: "SIGTERM",
  graceMillis,
  startMillis,
  logFile,
  owns: (home, _, line) => {
    const [program = ""] = line.split(" ")
    return path.basename(program) === "java" && line.endsWith(` kafka.Kafka ${propertiesFile(home)}`)
  },
  prepare: async (home, ports) => {
    const java = await findJava()
    const jars = await kafkaJars(home, java)
    const archive = await classArchive(home, jars, java, (file) => rehearse(home, java.program, jars, file))
    const flags = [...jvmFlags, ...(archive === undefined ? [] : [`-XX:SharedArchiveFile=${archive}`])]
    const data = path.join(home.dir, "kafka")
    if (!fs.existsSync(data)) await format(java.program, jars, flags, named(ports), data)
    writeWhole(propertiesFile(home), propertiesText(kafkaProperties(named(ports), data)))
    return [
      {
        argv: [java.program, ...flags, "-cp", `${jars}/*`, "kafka.Kafka", propertiesFile(home)],
        log: logFile(home)
      }
    ]
  },
  url: (_, ports) => `127.0.0.1:${named(ports).client}`,
  ask: (_, ports) => askMetadata(named(ports).client),
  notes: (ports) => [
    `clients stay behind a proxy that listens on 127.0.0.1:${named(ports).proxy} and forwards to 127.0.0.1:${named(ports).fault}`
  ]
}
