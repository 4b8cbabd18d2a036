/** What the provider last said of a source, for when it says nothing. */
import { Context } from "effect"
import type { Duration, Effect, Option } from "effect"

import type { Source } from "./Psp.ts"

/** A source as it was told, so long ago. */
export interface KnownSource {
  readonly value: Source
  readonly age: Duration.Duration
}

/**
 * A memory of sources, and of nothing that could be charged: what is kept under a token does not tell it.
 *
 * - What is recalled was remembered last, and is as old as it says.
 * - It may forget at any time.
 */
export class KnownSources extends Context.Service<
  KnownSources,
  {
    readonly remember: (token: string, source: Source) => Effect.Effect<void>
    /** It is gone there, so what was known of it is true no longer. */
    readonly forget: (token: string) => Effect.Effect<void>
    readonly recall: (token: string) => Effect.Effect<Option.Option<KnownSource>>
  }
>()("cribwork/payments/KnownSources") {}
