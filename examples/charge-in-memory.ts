/** The payment pipeline with no server and no database: the flows that run on Postgres, on layers of this process. */
import * as MemoryBreakers from "cribwork/breakers/MemoryBreakers"
import { TenantId } from "cribwork/domain/Ids"
import { Currency, format, MinorUnits } from "cribwork/domain/Money"
import { fingerprint } from "cribwork/domain/payments/Fingerprint"
import { IdempotencyKey } from "cribwork/domain/payments/IdempotencyKey"
import { Ledger } from "cribwork/domain/payments/Ledger"
import * as MemoryEventOutbox from "cribwork/events/MemoryEventOutbox"
import { ChargeIntake, layer as intake } from "cribwork/payments/ChargeIntake"
import * as MemoryBooks from "cribwork/payments/MemoryBooks"
import * as MemoryCharges from "cribwork/payments/MemoryCharges"
import * as MemoryIdempotencyStore from "cribwork/payments/MemoryIdempotencyStore"
import * as MemoryLedger from "cribwork/payments/MemoryLedger"
import * as MemoryOutbox from "cribwork/payments/MemoryOutbox"
import * as PspWorker from "cribwork/payments/PspWorker"
import * as ScriptedPsp from "cribwork/payments/ScriptedPsp"
import * as Wake from "cribwork/payments/Wake"
import * as Settings from "cribwork/platform/Settings"
import { Console, Duration, Effect, Layer, Option } from "effect"

const stores = Layer.mergeAll(
  MemoryCharges.layer,
  MemoryOutbox.layer,
  MemoryLedger.layer,
  MemoryIdempotencyStore.layer
).pipe(Layer.provide(MemoryBooks.layer), Layer.provide(MemoryEventOutbox.layer))

const pipeline = Layer.mergeAll(intake, PspWorker.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(stores, ScriptedPsp.layer, MemoryBreakers.layer, Wake.layer)),
  Layer.provide(Settings.layer)
)

const tenant = TenantId.make("acme")
const request = {
  amount: MinorUnits.make(1050),
  currency: Currency.make("USD"),
  source: "tok_visa",
  description: "two coffees",
  orderId: null
}

const program = Effect.gen(function* () {
  const { charge } = yield* ChargeIntake
  const intent = {
    tenant,
    key: IdempotencyKey.make("7f8c3a52-6d0e-4b7a-9c31-2f4d5e6a7b80"),
    fingerprint: fingerprint("POST", "/v1/charges", "1", request),
    request,
    traceparent: Option.none()
  }
  const first = yield* charge(intent, Duration.seconds(5))
  const again = yield* charge(intent, Duration.zero)
  yield* Console.log(`first ${first.outcome}; again ${again.outcome}, replayed ${again.replayed}`)
  yield* Console.log(`the same bytes: ${first.document === again.document}`)

  const { rows } = yield* (yield* Ledger).accounts(tenant, { limit: 10, after: Option.none() })
  for (const { code, postedDebits, postedCredits } of rows) {
    yield* Console.log(
      `${code}: debits ${format(Number(postedDebits), request.currency)}, credits ${format(Number(postedCredits), request.currency)}`
    )
  }
  yield* Console.log(`the provider captured ${(yield* (yield* ScriptedPsp.ScriptedBank).captured).length} payment`)
})

await Effect.runPromise(Effect.provide(program, pipeline))
