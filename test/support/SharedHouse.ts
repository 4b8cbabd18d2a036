/** The programs that share a database, each in a process of its own on a database of its own, with a twin to charge against. */
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"

import { Effect } from "effect"

import { choosePorts, isFree } from "../../tools/servers/Ports.ts"
import { admin, databaseUrl } from "../Postgres.ts"
import { ask } from "./Client.ts"
import { newFolder } from "./House.ts"
import { type Environment, Program, until } from "./Program.ts"

/** Servers that others run. */
export interface Servers {
  /** Whose role may create databases. */
  readonly postgres: string
  readonly redis: string
  readonly kafka: string
}

export const members = ["psp-twin", "api", "worker", "relay"] as const
export type Member = (typeof members)[number]

/** For a program to start on a machine that does ten other things. */
const startMillis = 30_000

const answers = (url: string) =>
  ask(url).then(
    ({ status }) => status === 200,
    () => false
  )

export class SharedHouse {
  readonly folder = newFolder()
  readonly name = `cribwork_test_${randomBytes(8).toString("hex")}`
  readonly twinToken = "switch"
  /** Programs that ended though nobody killed them. */
  readonly crashes: Array<string> = []
  readonly #servers: Servers
  readonly #env: Environment
  readonly #ports: Readonly<Record<string, number>>
  readonly #running = new Map<Member, Program>()
  #stopping = false

  private constructor(servers: Servers, env: Environment, ports: Readonly<Record<string, number>>) {
    this.#servers = servers
    this.#env = env
    this.#ports = ports
  }

  /** Migrated and serving. */
  static async open(servers: Servers, env: Environment = {}): Promise<SharedHouse> {
    const ports = await choosePorts(["api", "psp-twin"], {}, [], randomBytes(4).toString("hex"), isFree)
    const house = new SharedHouse(servers, env, ports)
    await Effect.runPromise(admin(servers.postgres, `create database ${house.name}`))
    const migrated = new Program("migrate", { DATABASE_URL: house.database })
    const { code } = await migrated.ended
    if (code !== 0) throw new Error(migrated.said)
    for (const member of members) house.start(member)
    await house.serves()
    return house
  }

  get database(): string {
    return databaseUrl(this.#servers.postgres, this.name)
  }
  get url(): string {
    return `http://127.0.0.1:${this.#ports["api"]}`
  }
  get twinUrl(): string {
    return `http://127.0.0.1:${this.#ports["psp-twin"]}`
  }

  start(member: Member): void {
    const program = new Program(member, { ...this.#envOf(member), LOG_LEVEL: "warn", ...this.#env })
    this.#running.set(member, program)
    void this.#watch(member, program)
  }

  /** Ends when the API and the twin answer. */
  async serves(): Promise<void> {
    await until("the api is ready", startMillis, () => answers(`${this.url}/health/ready`))
    await until("the twin listens", startMillis, () => answers(`${this.twinUrl}/_twin/payments`))
  }

  /** As a crash, and at once another start. */
  async kill(member: Member, waits: boolean): Promise<void> {
    await this.#running.get(member)?.stop("SIGKILL")
    this.start(member)
    if (waits) await this.serves()
  }

  /** All drained, and the database gone. */
  async close(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#running.values()].map((program) => program.stop()))
    await Effect.runPromise(admin(this.#servers.postgres, `drop database if exists ${this.name} with (force)`))
    fs.rmSync(this.folder, { recursive: true, force: true })
  }

  async #watch(member: Member, program: Program) {
    const { code, signal } = await program.ended
    if (signal === "SIGKILL" || this.#stopping) return
    this.crashes.push(`${member} ended by itself with ${code ?? signal}: ${program.said}`)
  }

  #envOf(member: Member): Environment {
    const { redis, kafka } = this.#servers
    const database = { DATABASE_URL: this.database, REDIS_URL: redis }
    switch (member) {
      case "psp-twin":
        return {
          TWIN_PORT: String(this.#ports["psp-twin"]),
          TWIN_FILE: `${this.folder}/twin.jsonl`,
          TWIN_TOKEN: this.twinToken
        }
      case "api":
        return { ...database, PORT: String(this.#ports["api"]), PSP_URL: this.twinUrl }
      case "worker":
        return { ...database, PSP_URL: this.twinUrl }
      case "relay":
        return { ...database, KAFKA_BROKERS: kafka }
    }
  }
}
