/**
 * What a program does, open to any stack: each names the boxes it needs and no others. Nothing begins before
 * it is known what operators order of its breakers.
 */
import { Layer } from "effect"

import * as BreakerSync from "../../layers/breakers/BreakerSync.ts"
import * as OutboxRelay from "../../layers/events/OutboxRelay.ts"
import * as Routes from "../../layers/http/Routes.ts"
import * as ChargeIntake from "../../layers/payments/ChargeIntake.ts"
import * as DeadLetterDesk from "../../layers/payments/DeadLetterDesk.ts"
import * as MemoryKnownSources from "../../layers/payments/MemoryKnownSources.ts"
import * as PspWorker from "../../layers/payments/PspWorker.ts"
import * as Reaper from "../../layers/payments/Reaper.ts"
import * as SourceDesk from "../../layers/payments/SourceDesk.ts"
import * as Wake from "../../layers/payments/Wake.ts"

/** Answers HTTP. Asks the provider what people recognise a card by, and nothing that moves money. */
export const api = Routes.layer.pipe(
  Layer.provide([
    ChargeIntake.layer,
    DeadLetterDesk.layer,
    SourceDesk.layer.pipe(Layer.provide(MemoryKnownSources.layer))
  ]),
  Layer.provide([Wake.layer, BreakerSync.layer])
)

/** Carries commands to the provider, and keys to their graves. */
export const worker = Layer.mergeAll(PspWorker.layer.pipe(Layer.provide(Wake.layer)), Reaper.layer).pipe(
  Layer.provide(BreakerSync.layer)
)

/** Carries staged events to the bus. */
export const relay = OutboxRelay.layer.pipe(Layer.provide(BreakerSync.layer))
