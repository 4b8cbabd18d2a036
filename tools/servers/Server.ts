/** What `servers` needs to know about one kind of server. */
import type { Home } from "./Home.ts"
import type { Command } from "./Process.ts"

export type Name = "postgres" | "redis" | "redis-cluster" | "kafka"

export type Ports = Readonly<Record<string, number>>

export interface Server {
  readonly name: Name
  /** The variable whose being set makes a concern live. */
  readonly variable: "DATABASE_URL" | "REDIS_URL" | "REDIS_CLUSTER_URL" | "KAFKA_BROKERS"
  /** The ports it listens on; the first is the clients'. */
  readonly roles: readonly [string, ...ReadonlyArray<string>]
  /** How many processes it is made of; it is up when all of them run. */
  readonly processes: number
  /** Postgres takes TERM for "wait until everyone has left". */
  readonly politeSignal: NodeJS.Signals
  /** How long it may take to leave before it is killed. */
  readonly graceMillis: number
  /** How long a start may take before it counts as failed. */
  readonly startMillis: number
  /** Is this the command line of a process of the server that this checkout started? */
  readonly owns: (home: Home, ports: Ports, line: string) => boolean
  /** Installs what is missing, lays out the data, says what to run, process by process. Throws `Trouble`. */
  readonly prepare: (home: Home, ports: Ports) => Promise<ReadonlyArray<Command>>
  readonly url: (home: Home, ports: Ports) => string
  /** One real request and its right answer, or a rejection that says why not. Bounded by `answerMillis`. */
  readonly ask: (home: Home, ports: Ports) => Promise<void>
  readonly logFile: (home: Home) => string
  /** Lines for the env file that say more about it. */
  readonly notes: (ports: Ports) => ReadonlyArray<string>
}

/** How long one request may take before the server counts as silent. */
export const answerMillis = 3_000
