/**
 * The hot path of keys: a layer around another `IdempotencyStore` that keeps settled answers in Redis and
 * replays them from there. Never the truth: only what was committed is remembered, what has not settled never
 * is, and an answer that Redis does not give within its budget is simply asked of Postgres.
 *
 * Entries are named after the database they came from (its identity, and its timeline, which changes when
 * another server takes over), so that what a lost database said is not repeated for its successor; the name
 * is asked for anew every `epochFor`.
 */
import { hash, timingSafeEqual } from "node:crypto"

import { Duration, Effect, Layer, Metric, Option, Schema } from "effect"

import * as Deadline from "../../domain/Deadline.ts"
import type { TenantId } from "../../domain/Ids.ts"
import type { IdempotencyKey } from "../../domain/payments/IdempotencyKey.ts"
import { IdempotencyStore, Told } from "../../domain/payments/IdempotencyStore.ts"
import { Reads } from "../platform/Postgres.ts"
import { Redis } from "../platform/Redis.ts"
import { Settings } from "../platform/Settings.ts"

/** How long a change of the database behind us may go unnoticed. */
const epochFor = Duration.seconds(5)

/** Entries carry their own digest, so that a value cut short or written by others is not believed. */
const Entry = Schema.fromJsonString(Schema.Struct({ told: Told, digest: Schema.String }))
const decode = Schema.decodeUnknownOption(Entry)
const encode = Schema.encodeSync(Entry)

const digestOf = (name: string, told: Told) =>
  hash("sha256", `${name}\n${told.fingerprint}\n${told.outcome}\n${told.charge}\n${told.document}`, "base64url")

const isSame = (a: string, b: string) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))

const recalls = (result: "hit" | "miss" | "unanswered") =>
  Metric.counter("cribwork_payments_recalls_total", {
    description: "Keys looked up on the hot path, by what came of it",
    incremental: true
  }).pipe(Metric.withAttributes({ result }))
const [hit, miss, unanswered] = [recalls("hit"), recalls("miss"), recalls("unanswered")]

const make = Effect.gen(function* () {
  const inner = yield* IdempotencyStore
  const redis = yield* Redis
  const reads = yield* Reads
  const { redisKeyBudget: budget } = yield* Settings

  const epoch = yield* Effect.cachedWithTTL(
    reads<{ readonly epoch: string }>`select store_epoch() as epoch`.pipe(
      Effect.map(([row]) => Option.fromUndefinedOr(row?.epoch)),
      Effect.orElseSucceed(() => Option.none<string>()),
      // What is kept for others must not depend on how little time the first has.
      Deadline.lifted
    ),
    epochFor
  )
  const nameOf = (tenant: TenantId, key: IdempotencyKey) =>
    Effect.map(
      epoch,
      Option.map((at) => `pay:${at}:${tenant}:${key}`)
    )

  const recall: IdempotencyStore["Service"]["recall"] = Effect.fnUntraced(function* (tenant, key) {
    const name = yield* nameOf(tenant, key)
    if (Option.isNone(name)) return Option.none()
    const found = yield* Effect.option(redis.use(budget, (client) => client.get(name.value)))
    yield* Metric.update(Option.isNone(found) ? unanswered : found.value === null ? miss : hit, 1)
    return Option.flatMap(found, decode).pipe(
      Option.filter(({ told, digest }) => isSame(digest, digestOf(name.value, told))),
      Option.map(({ told }) => told)
    )
  })

  const remember: IdempotencyStore["Service"]["remember"] = Effect.fnUntraced(function* (tenant, key, told) {
    const name = yield* nameOf(tenant, key)
    if (Option.isNone(name) || told.ttlMillis <= 0) return
    const entry = encode({ told, digest: digestOf(name.value, told) })
    yield* Effect.ignore(redis.use(budget, (client) => client.set(name.value, entry, "PX", told.ttlMillis)))
  })

  return IdempotencyStore.of({ ...inner, recall, remember })
})

/** Around whatever `IdempotencyStore` it is provided with. */
export const layer: Layer.Layer<IdempotencyStore, never, IdempotencyStore | Redis | Reads | Settings> = Layer.effect(
  IdempotencyStore,
  make
)
