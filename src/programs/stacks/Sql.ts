/** What the embedded and the live stack have in common: everything that is true is in one Postgres. */
import { Duration, Effect, Layer } from "effect"

import { topic } from "../../domain/payments/Settlement.ts"
import * as SqlAuditLog from "../../layers/access/SqlAuditLog.ts"
import * as RedisHints from "../../layers/breakers/RedisHints.ts"
import * as GuardedEventBus from "../../layers/events/GuardedEventBus.ts"
import * as KafkaJsEventBus from "../../layers/events/KafkaJsEventBus.ts"
import * as SqlEventOutbox from "../../layers/events/SqlEventOutbox.ts"
import * as MemoryLimiter from "../../layers/limits/MemoryLimiter.ts"
import * as RedisLimiter from "../../layers/limits/RedisLimiter.ts"
import * as SqlPolicies from "../../layers/limits/SqlPolicies.ts"
import * as HttpPsp from "../../layers/payments/HttpPsp.ts"
import * as RedisIdempotencyStore from "../../layers/payments/RedisIdempotencyStore.ts"
import * as SqlCharges from "../../layers/payments/SqlCharges.ts"
import * as SqlIdempotencyStore from "../../layers/payments/SqlIdempotencyStore.ts"
import * as SqlLedger from "../../layers/payments/SqlLedger.ts"
import * as SqlOutbox from "../../layers/payments/SqlOutbox.ts"
import * as GuardedRedis from "../../layers/platform/GuardedRedis.ts"
import { CallMax, Reads } from "../../layers/platform/Postgres.ts"
import * as Readiness from "../../layers/platform/Readiness.ts"
import * as Redis from "../../layers/platform/Redis.ts"
import * as RedisSubscriber from "../../layers/platform/RedisSubscriber.ts"
import type { Settings } from "../../layers/platform/Settings.ts"
import * as SqlTransactions from "../../layers/platform/SqlTransactions.ts"
import * as Levers from "./Levers.ts"
import { from, whenSet } from "./Stack.ts"

/** The topics that this house publishes to. */
export const topics = [topic]

/** A little less than readiness waits for its answer. */
const checkMax = Duration.times(Readiness.checkMax, 0.9)

export const redisUrl = ({ redisUrl }: Settings["Service"]) => redisUrl
export const kafkaBrokers = ({ kafkaBrokers }: Settings["Service"]) => kafkaBrokers
export const pspUrl = ({ pspUrl }: Settings["Service"]) => pspUrl
export const databaseUrl = ({ databaseUrl }: Settings["Service"]) => databaseUrl

/** One connection, for the limiter and for the keys. */
const redis = from("REDIS_URL", redisUrl, (url) => GuardedRedis.layer.pipe(Layer.provide(Redis.layer(url))))

export const limiter = whenSet(redisUrl, RedisLimiter.layer.pipe(Layer.provide(redis)), MemoryLimiter.layer)

const keys = whenSet(
  redisUrl,
  RedisIdempotencyStore.layer.pipe(Layer.provide([SqlIdempotencyStore.layer, redis])),
  SqlIdempotencyStore.layer
)

/** Breakers of different processes tell each other that they opened, where there is a Redis to do it over. */
const hints = whenSet(
  redisUrl,
  RedisHints.layer.pipe(Layer.provide([redis, from("REDIS_URL", redisUrl, (url) => RedisSubscriber.layer(url))])),
  Layer.empty
)

const readiness = Layer.effectDiscard(
  Effect.gen(function* () {
    const reads = yield* Reads
    yield* (yield* Readiness.Readiness).register("postgres", Effect.provideService(reads`select 1`, CallMax, checkMax))
  })
)

/** On a database that is at this code's schema. */
export const books = Layer.mergeAll(
  SqlCharges.layer,
  SqlOutbox.layer,
  SqlLedger.layer,
  SqlEventOutbox.layer,
  SqlTransactions.layer,
  Layer.merge(Levers.keys, SqlPolicies.layer).pipe(Layer.provideMerge(SqlAuditLog.layer)),
  Levers.layer,
  keys,
  hints,
  readiness
)

export const kafka = from("KAFKA_BROKERS", kafkaBrokers, (brokers) =>
  GuardedEventBus.layer.pipe(Layer.provide(KafkaJsEventBus.layer(brokers, topics)))
)

export const provider = HttpPsp.layer.pipe(
  Layer.provide(from("PSP_URL", pspUrl, (url) => Layer.succeed(HttpPsp.PspUrl, url)))
)
