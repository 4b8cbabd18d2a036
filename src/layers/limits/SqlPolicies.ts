/**
 * `Policies` in Postgres: a row a version, of which none is ever changed. Each process reads the highest before
 * it begins, and asks about once a second whether there is a higher one: asking is the guarantee, and at that
 * pace costs less than a subscription that would have to be checked on. While it cannot be read, or is not one
 * that this program understands, the last good document holds. The `AuditLog` must be one on the same client.
 */
import { Duration, Effect, Exit, Layer, Random, Schema } from "effect"
import { SqlClient } from "effect/sql"

import { AuditLog } from "../../domain/access/AuditLog.ts"
import { Policies, PoliciesUnavailable, refusalOf, Snapshot, VersionStale } from "../../domain/limits/Policies.ts"
import { empty, PolicyDocument } from "../../domain/limits/PolicyDocument.ts"
import { Reads } from "../platform/Postgres.ts"
import { policiesRecord } from "./PoliciesRecord.ts"

/** A look takes so long at most, and the pause before it 1.1 s: a document acts within two seconds. */
const lookMax = Duration.millis(800)
const pause = { least: Duration.millis(700), spread: Duration.millis(400) }

/** Versions that are looked at for a good one, from the highest. */
const looksMax = 10

interface Row {
  readonly version: number
  readonly document: unknown
}

const json = Schema.encodeSync(Schema.fromJsonString(PolicyDocument))
const decode = Schema.decodeUnknownEffect(PolicyDocument, { onExcessProperty: "error" })

/** As it was written here, or by whoever else can write to the table. */
const read = Effect.fnUntraced(function* ({ document, version }: Row) {
  const decoded = yield* decode(document)
  const refused = refusalOf(decoded, empty)
  return refused === undefined ? new Snapshot(version, decoded) : yield* refused
})

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const reads = yield* Reads
  const audit = yield* AuditLog
  let current = new Snapshot(0, empty)
  let passedOver = 0
  let isReached = true

  const hold = (snapshot: Snapshot) => {
    if (snapshot.version > current.version) current = snapshot
    return current
  }

  const replace: Policies["Service"]["replace"] = Effect.fnUntraced(
    function* (replacement) {
      const { by, document, from } = replacement
      const [held] = yield* sql<Row>`select version, document from limit_policies order by version desc limit 1`
      if (from !== (held?.version ?? 0)) return yield* new VersionStale({})
      const before = held === undefined ? empty : yield* Effect.orElseSucceed(decode(held.document), () => empty)
      const refused = refusalOf(document, before)
      if (refused !== undefined) return yield* refused
      // Whoever is faster by an instant has this version, and is waited for here.
      const written = yield* sql`insert into limit_policies (version, document, set_by)
        values (${from + 1}, ${json(document)}::text::jsonb, ${by})
        on conflict (version) do nothing returning version`
      if (written.length === 0) return yield* new VersionStale({})
      yield* audit.record(policiesRecord(before, replacement))
      return new Snapshot(from + 1, document)
    },
    sql.withTransaction,
    Effect.map(hold),
    Effect.catchTags({ AccessUnavailable: unavailable, SqlError: unavailable })
  )

  const takeFirstGood = Effect.fnUntraced(function* (rows: ReadonlyArray<Row>) {
    for (const row of rows) {
      const found = yield* Effect.exit(read(row))
      if (Exit.isSuccess(found)) return void hold(found.value)
      if (row.version <= passedOver) continue
      passedOver = row.version
      const words = `Version ${row.version} of the policies is none that can be kept: an earlier one still holds.`
      yield* Effect.logError(words, found.cause)
    }
  })

  const look = Effect.suspend(
    () => reads<Row>`select version, document from limit_policies where version > ${current.version}
      order by version desc limit ${looksMax}`
  ).pipe(Effect.flatMap(takeFirstGood))

  const told = (reached: boolean, said: Effect.Effect<void>) =>
    Effect.suspend(() => {
      if (isReached === reached) return Effect.void
      isReached = reached
      return said
    })

  const again = Effect.timeout(look, lookMax).pipe(
    Effect.andThen(told(true, Effect.logInfo("Policies can be read again."))),
    Effect.catchCause((cause) => told(false, Effect.logWarning("Policies cannot be read: the last ones hold.", cause)))
  )
  const drawn = Effect.map(Random.next, (chance) => Duration.sum(pause.least, Duration.times(pause.spread, chance)))

  yield* Effect.mapError(look, (cause) => new PoliciesUnavailable({ cause }))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.flatMap(drawn, Effect.sleep), again)))

  return Policies.of({ current: Effect.sync(() => current), replace })
})

export const layer: Layer.Layer<Policies, PoliciesUnavailable, SqlClient.SqlClient | Reads | AuditLog> = Layer.effect(
  Policies,
  make
)

const unavailable = (cause: unknown) => new PoliciesUnavailable({ cause })
