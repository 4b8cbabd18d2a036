/**
 * ioredis, told to promise little, wherever Redis is: it queues nothing while it is not connected, sends nothing
 * a second time, gives up a silent socket, and reads where it writes. Only what a node of a Cluster did not do,
 * because the key lies elsewhere, is sent on to where it lies.
 */
import { Duration } from "effect"
import { Cluster, Redis } from "ioredis"
import type { RedisOptions as ConnectionOptions } from "ioredis"

import type { RedisPlace } from "./RedisUrl.ts"

export type Client = Redis | Cluster

export interface ClientOptions {
  readonly connectTimeout: Duration.Duration
  readonly silenceMax: Duration.Duration
  /** Milliseconds before the given attempt to connect, counted from 1. */
  readonly pause: (attempt: number) => number
}

/** How often one node of a Cluster is tried before the others are asked whether it is still one of them. */
const nodeAttemptsMax = 5

/** How often a Cluster is asked who its masters are, besides whenever a node says that a key lies elsewhere. */
const topologyEvery = Duration.seconds(2)

/** A command is sent on to where its key lies once, and once more while that key moves. */
const redirectionsMax = 3

/**
 * Not in ioredis' types: how long a closed client waits for its peer, which may be hung, before it drops the
 * socket; and it waits as long for a socket that is gone already.
 */
const abrupt = { disconnectTimeout: 0 }

/** A client that does not connect by itself. */
export const make = (place: RedisPlace, options: ClientOptions): Client =>
  place._tag === "Cluster"
    ? clusterOf(place.nodes, connectionOf(place, options), options.pause)
    : makeOne(place, options)

/** The same with one connection. */
export const makeOne = (place: Exclude<RedisPlace, { readonly _tag: "Cluster" }>, options: ClientOptions): Redis => {
  const connection = connectionOf(place, options)
  const { db } = place
  const alone = { ...connection, db, retryStrategy: options.pause, enableOfflineQueue: false, lazyConnect: true }
  if (place._tag === "Single") return new Redis({ ...alone, ...place.at })
  const { master, sentinelLogin, sentinels, tls } = place
  return new Redis({
    ...alone,
    role: "master",
    name: master,
    sentinels: [...sentinels],
    sentinelRetryStrategy: options.pause,
    sentinelCommandTimeout: connection.connectTimeout,
    ...(sentinelLogin.username === undefined ? {} : { sentinelUsername: sentinelLogin.username }),
    ...(sentinelLogin.password === undefined ? {} : { sentinelPassword: sentinelLogin.password }),
    ...(tls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {})
  })
}

const connectionOf = ({ login, tls }: RedisPlace, { connectTimeout, silenceMax }: ClientOptions) =>
  ({
    ...login,
    ...(tls ? { tls: {} } : {}),
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: Duration.toMillis(connectTimeout),
    socketTimeout: Duration.toMillis(silenceMax),
    ...abrupt
  }) satisfies ConnectionOptions

const clusterOf = (
  nodes: ReadonlyArray<{ readonly host: string; readonly port: number }>,
  redisOptions: ReturnType<typeof connectionOf>,
  pause: ClientOptions["pause"]
): Cluster => {
  const cluster = new Cluster([...nodes], {
    redisOptions,
    lazyConnect: true,
    enableOfflineQueue: false,
    scaleReads: "master",
    maxRedirections: redirectionsMax,
    // A lost connection or a cluster that is down is told to the caller; by default both are tried again later.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 0,
    slotsRefreshInterval: Duration.toMillis(topologyEvery),
    slotsRefreshTimeout: redisOptions.connectTimeout,
    clusterRetryStrategy: pause,
    clusterNodeRetryStrategy: (attempt) => (attempt > nodeAttemptsMax ? null : pause(attempt)),
    // A certificate names a host and seldom its address.
    ...(redisOptions.tls === undefined ? {} : { dnsLookup: (address, found) => found(null, address) })
  })
  // A node that was not connected yet would queue what it is asked, so none is left in that state.
  const open = () => {
    if (cluster.status === "ready") void connectMasters(cluster)
  }
  for (const event of ["ready", "refresh", "+node"]) cluster.on(event, open)
  return cluster
}

const connectMasters = (cluster: Cluster): Promise<unknown> =>
  Promise.allSettled(cluster.nodes("master").flatMap((node) => (node.status === "wait" ? [node.connect()] : [])))

/** Connects for the first time; settles when every master answers, or after the first failure. */
export const connect = async (client: Client): Promise<void> => {
  await client.connect()
  if (client instanceof Cluster) await connectMasters(client)
}

/** Whether all of it can be asked now. */
export const isReady = (client: Client): boolean =>
  client.status === "ready" &&
  (!(client instanceof Cluster) || client.nodes("master").every(({ status }) => status === "ready"))
