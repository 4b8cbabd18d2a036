import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option } from "effect"
import { SqlClient } from "effect/sql"

import { MinorUnits } from "../../src/domain/Money.ts"
import { Charges } from "../../src/domain/payments/Charges.ts"
import { Ledger } from "../../src/domain/payments/Ledger.ts"
import { Owner } from "../Postgres.ts"
import { accepted, captured, claimed, freshTenant, intent } from "./intents.ts"
import { sql as stack } from "./stacks.ts"

const tables = ["charges", "operations", "idempotency_keys", "psp_commands", "transfers"]

const counts = Effect.fnUntraced(function* () {
  const sql = yield* Owner
  const rows = yield* sql.unsafe<{ readonly n: bigint }>(
    tables.map((table) => `select count(*) as n from ${table}`).join(" union all ")
  )
  return rows.map((row) => Number(row.n))
})

const tagOf = <A, R>(effect: Effect.Effect<A, { readonly reason: { readonly _tag: string } }, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason._tag)

layer(stack, { excludeTestServices: true, timeout: "60 seconds" })("SqlCharges", (it) => {
  it.effect("accepting writes everything or nothing", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const before = yield* counts()
      // The last thing that an acceptance writes is its command: let that fail.
      yield* owner`alter table psp_commands add constraint broken check (tenant_id <> 'unlucky') not valid`
      const unlucky = { ...intent(), tenant: "unlucky" as ReturnType<typeof freshTenant> }
      assert.strictEqual(yield* tagOf((yield* Charges).accept(unlucky)), "ChargesUnavailable")
      assert.deepStrictEqual(yield* counts(), before)
      yield* owner`alter table psp_commands drop constraint broken`
      assert.strictEqual((yield* (yield* Charges).accept(unlucky))._tag, "Accepted")
      assert.deepStrictEqual(
        yield* counts(),
        before.map((n) => n + 1)
      )
    })
  )

  it.effect("settling moves money, key, command and event together, or not at all", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const charges = yield* Charges
      const asked = intent()
      const charge = yield* accepted(asked)
      const lease = yield* claimed(asked.tenant)
      yield* owner`alter table outbox_events add constraint broken check (topic <> 'payments.v1') not valid`
      const failed = yield* Effect.flip(charges.settle(captured(lease)))
      assert.strictEqual(failed._tag, "ChargesUnavailable")
      assert.strictEqual((yield* charges.find(asked.tenant, charge.id)).operationState, "accepted")
      const { rows } = yield* (yield* Ledger).accounts(asked.tenant, { limit: 2, after: Option.none() })
      assert.deepStrictEqual(
        rows.map((account) => account.heldDebits + account.heldCredits),
        [1050n, 1050n]
      )
      yield* owner`alter table outbox_events drop constraint broken`
      assert.strictEqual((yield* charges.settle(captured(lease)))._tag, "Settled")
      const events = yield* owner`select seq::int, type, payload::jsonb ->> 'operation_state' as state
        from outbox_events where topic = 'payments.v1' and key = ${charge.id}`
      assert.deepStrictEqual(events, [{ seq: 1, type: "charge.succeeded", state: "succeeded" }])
    })
  )

  it.effect("who comes while the first is being accepted waits a little, and is told when that was not enough", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const asked = intent()
      const inserted = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const first = yield* owner`insert into idempotency_keys (tenant_id, key, fingerprint, charge_id, expires_at)
          values (${asked.tenant}, ${asked.key}::uuid, decode(${asked.fingerprint}, 'hex'), gen_random_uuid(),
            now() + interval '1 day')`.pipe(
        Effect.andThen(Deferred.succeed(inserted, undefined)),
        Effect.andThen(Deferred.await(release)),
        Effect.andThen(Effect.fail("rolled back" as const)),
        owner.withTransaction,
        Effect.exit,
        Effect.forkChild
      )
      yield* Deferred.await(inserted)
      assert.strictEqual(yield* tagOf((yield* Charges).accept(asked)), "OperationInProgress")
      // The first one gives up within the wait: the second takes its place.
      const second = yield* Effect.forkChild((yield* Charges).accept(asked), { startImmediately: true })
      yield* Effect.sleep("100 millis")
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(first)
      assert.strictEqual((yield* Fiber.join(second))._tag, "Accepted")
    })
  )

  it.effect("a key that waits for its first use does not keep those who travel with it", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const charges = yield* Charges
      const stuck = intent()
      const inserted = yield* Deferred.make<void>()
      const first = yield* owner`insert into idempotency_keys (tenant_id, key, fingerprint, charge_id, expires_at)
          values (${stuck.tenant}, ${stuck.key}::uuid, decode(${stuck.fingerprint}, 'hex'), gen_random_uuid(),
            now() + interval '1 day')`.pipe(
        Effect.andThen(Deferred.succeed(inserted, undefined)),
        Effect.andThen(Effect.never),
        owner.withTransaction,
        Effect.forkChild
      )
      yield* Deferred.await(inserted)
      const told: Array<string> = []
      yield* Effect.forEach(
        [intent(), intent(), stuck, ...Array.from({ length: 20 }, () => intent())],
        (asked) =>
          Effect.map(Effect.result(charges.accept(asked)), (result) =>
            told.push(result._tag === "Success" ? result.success._tag : result.failure.reason._tag)
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(told, [...Array.from({ length: 22 }, () => "Accepted"), "OperationInProgress"])
      yield* Fiber.interrupt(first)
    })
  )

  it.effect("a floor counts what is held; the refusal says how much is short and stands under the key", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const charges = yield* Charges
      const tenant = freshTenant()
      yield* owner`insert into accounts (tenant_id, currency, code, floor) values (${tenant}, 'USD', 'receivable', -1500)`
      yield* accepted(intent({ tenant }))
      const before = yield* counts()
      const asked = intent({ tenant })
      const refused = yield* charges.accept(asked)
      assert.strictEqual(
        refused._tag === "Refused" ? refused.told.document : refused._tag,
        `{"code": "insufficient_funds", "short_by": 600}`
      )
      const again = yield* charges.accept(asked)
      assert.strictEqual(again._tag, "Settled")
      // The key, and nothing else.
      assert.deepStrictEqual(yield* counts(), [before[0], before[1], (before[2] ?? 0) + 1, before[3], before[4]])
      yield* accepted(intent({ tenant, ask: { amount: MinorUnits.make(450) } }))
    })
  )

  it.effect("fifty at once against a floor never undercut it", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const charges = yield* Charges
      const tenant = freshTenant()
      yield* owner`insert into accounts (tenant_id, currency, code, floor) values (${tenant}, 'USD', 'receivable', -10500)`
      const all = yield* Effect.forEach(Array.from({ length: 50 }), () => charges.accept(intent({ tenant })), {
        concurrency: "unbounded"
      })
      assert.lengthOf(
        all.filter((one) => one._tag === "Accepted"),
        10
      )
    })
  )

  it.effect("one bad item of a batch does not hurt its neighbours", () =>
    Effect.gen(function* () {
      const owner = yield* Owner
      const tenant = freshTenant()
      const used = intent({ tenant })
      yield* accepted(used)
      const item = (asked: ReturnType<typeof intent>) => ({
        tenant,
        key: asked.key,
        fingerprint: asked.fingerprint,
        charge: asked.key,
        operation: asked.key,
        hold: asked.key,
        psp_key: asked.key,
        amount: asked.request.amount,
        currency: "USD",
        source: "tok_visa"
      })
      const [one, two] = [intent({ tenant }), intent({ tenant })]
      const wrong = intent({ tenant, key: used.key, ask: { amount: MinorUnits.make(1) } })
      const rows = yield* owner`select ix::int, verdict from accept_batch(
        ${JSON.stringify([item(one), item(wrong), item(two), item(one)])}::text::jsonb, interval '1 day', interval '1 second')`
      assert.deepStrictEqual(rows, [
        { ix: 1, verdict: "accepted" },
        { ix: 2, verdict: "mismatch" },
        { ix: 3, verdict: "accepted" },
        { ix: 4, verdict: "open" }
      ])
    })
  )

  it.effect(
    "history cannot be rewritten: not by programs, for want of rights, and not by the owner, for the trigger",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const owner = yield* Owner
        yield* accepted(intent())
        const attempts = [
          "update transfers set amount = amount + 1",
          "delete from transfers",
          "truncate transfers cascade",
          "update accounts set posted_debits = 0",
          "update charges set state = 'succeeded'",
          "delete from idempotency_keys"
        ]
        for (const attempt of attempts) {
          const refused = yield* Effect.flip(sql.unsafe(attempt))
          assert.strictEqual(refused.reason._tag, "AuthorizationError", attempt)
        }
        for (const attempt of attempts.slice(0, 3)) {
          const refused = yield* Effect.flip(owner.unsafe(attempt))
          assert.include(JSON.stringify(refused.reason.cause), "transfer_altered", attempt)
        }
      })
  )
})
