/**
 * A kafkajs client that belongs to a scope: when it closes, so does every socket, at once, and none is opened
 * after it. kafkajs alone waits for requests in flight, and its retries reconnect what was disconnected.
 */
import * as net from "node:net"
import * as tls from "node:tls"

import { Effect, Option, Redacted } from "effect"
import { type ISocketFactoryArgs, Kafka, logLevel, type RetryOptions, type SASLOptions } from "kafkajs"

import { EventBusError, Retriable } from "../../domain/events/EventBus.ts"
import { Settings, WrongSettings } from "../platform/Settings.ts"
import * as KafkaJsIdlePatch from "./KafkaJsIdlePatch.ts"

export interface Connection {
  readonly brokers: ReadonlyArray<string>
  readonly clientId: string
  readonly tls: boolean
  readonly sasl: Option.Option<{
    readonly mechanism: "plain" | "scram-sha-256" | "scram-sha-512"
    readonly username: string
    readonly password: Redacted.Redacted
  }>
  /** How a connection is opened; for tests, which cut it. */
  readonly openSocket?: (to: ISocketFactoryArgs) => net.Socket
}

/** kafkajs' own retries, few: whoever calls it backs off itself, with full jitter, and knows when to give up. */
export const retry: RetryOptions = { retries: 3, initialRetryTime: 100, multiplier: 2, factor: 0.2, maxRetryTime: 1000 }
const connectMillisMax = 3000
const requestMillisMax = 10_000
const keepAliveMillis = 60_000

export const scoped = Effect.fnUntraced(function* (connection: Connection) {
  yield* KafkaJsIdlePatch.apply
  const run = Effect.runForkWith(yield* Effect.context())
  const sockets = new Set<net.Socket>()
  const gone = new Error("the client was closed")
  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      // With an error, or kafkajs waits for the answers that can come no more.
      for (const socket of sockets) socket.destroy(gone)
    })
  )
  return new Kafka({
    brokers: [...connection.brokers],
    clientId: connection.clientId,
    ssl: connection.tls,
    ...Option.match(connection.sasl, { onNone: () => ({}), onSome: (sasl) => ({ sasl: saslOf(sasl) }) }),
    connectionTimeout: connectMillisMax,
    authenticationTimeout: connectMillisMax,
    requestTimeout: requestMillisMax,
    enforceRequestTimeout: true,
    retry,
    logLevel: logLevel.INFO,
    // Detail: what matters arrives as a failure and is reported by whoever asked.
    logCreator:
      () =>
      ({ namespace, label, log }) => {
        run(Effect.logDebug(`kafkajs ${label} ${namespace}: ${log.message}`))
      },
    socketFactory: (to) => {
      if (closed) throw gone
      const socket = (connection.openSocket ?? openSocket)(to)
      sockets.add(socket)
      socket.once("close", () => sockets.delete(socket))
      return socket
    }
  })
})

/** A call of kafkajs, bounded: its failure is `Retriable` unless the caller knows better. */
export const call = <A>(millisMax: number, what: string, promise: () => Promise<A>): Effect.Effect<A, EventBusError> =>
  Effect.tryPromise({
    try: promise,
    catch: (cause) => retriable(`${what}: ${reasonsOf(cause).join(": ")}`, cause)
  }).pipe(
    Effect.timeoutOrElse({
      duration: millisMax,
      orElse: () => Effect.fail(retriable(`${what}: no answer within ${millisMax} ms`, undefined))
    })
  )

export const retriable = (message: string, cause: unknown) =>
  new EventBusError({ reason: new Retriable({ cause: new Error(message, { cause }) }) })

/** What went wrong, from the outside in: kafkajs hides the broker's word under up to three errors. */
const reasonsOf = (error: unknown): ReadonlyArray<string> => [
  ...new Set(chain(error).map((one) => (one instanceof Error ? one.message : String(one))))
]

/** The broker's error codes by name, as in MESSAGE_TOO_LARGE, wherever kafkajs put them. */
export const typesOf = (error: unknown): ReadonlyArray<string> =>
  chain(error).flatMap((one) =>
    typeof one === "object" && one !== null && "type" in one && typeof one.type === "string" ? [one.type] : []
  )

const chain = (error: unknown, depth = 0): ReadonlyArray<unknown> => {
  if (typeof error !== "object" || error === null || depth > depthMax) return error === undefined ? [] : [error]
  const inner = "errors" in error && Array.isArray(error.errors) ? (error.errors as ReadonlyArray<unknown>) : []
  const below = [...("cause" in error ? [error.cause] : []), ...inner]
  return [error, ...below.flatMap((one) => chain(one, depth + 1))]
}
const depthMax = 8

const openSocket = ({ host, port, ssl, onConnect }: ISocketFactoryArgs): net.Socket => {
  const socket = ssl
    ? tls.connect({ host, port, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
    : net.connect({ host, port }, onConnect)
  return socket.setKeepAlive(true, keepAliveMillis).setNoDelay(true)
}

const saslOf = (sasl: Option.Option.Value<Connection["sasl"]>): SASLOptions => ({
  mechanism: sasl.mechanism,
  username: sasl.username,
  password: Redacted.value(sasl.password)
})

/** As the settings say; half a set of credentials stops the boot. */
export const connectionOf = Effect.fnUntraced(function* (brokers: ReadonlyArray<string>) {
  const settings = yield* Settings
  const { kafkaSaslMechanism: mechanism, kafkaSaslUsername: username, kafkaSaslPassword: password } = settings
  const given = Option.all({ mechanism, username, password })
  if (Option.isNone(given) && [mechanism, username, password].some((one) => Option.isSome<unknown>(one))) {
    return yield* new WrongSettings({
      wrong: ["KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD must be set together"]
    })
  }
  return { brokers, clientId: settings.service, tls: settings.kafkaTls, sasl: given } satisfies Connection
})
