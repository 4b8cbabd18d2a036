/**
 * The settings of a one-node Kafka that is quick to start, to fail and to come back. Small where a laptop
 * feels it, real where behaviour shows: KRaft, transactions, both group protocols.
 */

export interface KafkaPorts {
  readonly client: number
  readonly controller: number
  /** A second listener that sends its clients on to `proxy`, so that they stay behind a proxy put there. */
  readonly fault: number
  readonly proxy: number
}

const bind = "127.0.0.1"

export const kafkaProperties = (ports: KafkaPorts, data: string): Readonly<Record<string, string>> => ({
  "process.roles": "broker,controller",
  "node.id": "1",
  "controller.listener.names": "CONTROLLER",
  "controller.quorum.voters": `1@${bind}:${ports.controller}`,
  listeners: `PLAINTEXT://${bind}:${ports.client},FAULT://${bind}:${ports.fault},CONTROLLER://${bind}:${ports.controller}`,
  "advertised.listeners": `PLAINTEXT://${bind}:${ports.client},FAULT://${bind}:${ports.proxy}`,
  "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,FAULT:PLAINTEXT,CONTROLLER:PLAINTEXT",
  "inter.broker.listener.name": "PLAINTEXT",
  // Without it a restart waits 11 s for the old registration to expire.
  "controlled.shutdown.enable": "true",
  "broker.session.timeout.ms": "1000",
  "broker.heartbeat.interval.ms": "200",
  "offsets.topic.replication.factor": "1",
  "offsets.topic.num.partitions": "4",
  "transaction.state.log.replication.factor": "1",
  "transaction.state.log.min.isr": "1",
  "transaction.state.log.num.partitions": "4",
  "share.coordinator.state.topic.replication.factor": "1",
  "share.coordinator.state.topic.min.isr": "1",
  "group.initial.rebalance.delay.ms": "0",
  "group.min.session.timeout.ms": "1000",
  // The newer group protocol: with its own defaults a rebalance takes 5 s.
  "group.consumer.min.heartbeat.interval.ms": "100",
  "group.consumer.heartbeat.interval.ms": "300",
  "group.consumer.min.session.timeout.ms": "1000",
  "group.consumer.session.timeout.ms": "3000",
  "auto.create.topics.enable": "false",
  "log.cleaner.dedupe.buffer.size": "2097152",
  "log.segment.bytes": "16777216",
  "log.index.size.max.bytes": "65536",
  "log.dirs": data
})

const unicodeEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`

/** Java reads Latin-1, takes a backslash for an escape and drops the blanks before a value. */
const escaped = (value: string) =>
  value
    .replaceAll("\\", "\\\\")
    .replaceAll(/[^\x20-\x7e]/g, unicodeEscape)
    .replace(/^ /, "\\u0020")

export const propertiesText = (properties: Readonly<Record<string, string>>): string =>
  Object.entries(properties)
    .map(([key, value]) => `${key}=${escaped(value)}\n`)
    .join("")
