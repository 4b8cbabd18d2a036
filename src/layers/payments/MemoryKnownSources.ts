/**
 * Known sources in this process, by the hash of their token. Holds at most `sourcesMax` and forgets the one that
 * was remembered longest ago; another process knows others.
 */
import { hash } from "node:crypto"

import { Clock, Duration, Effect, Layer, Option } from "effect"

import { KnownSources } from "../../domain/payments/KnownSources.ts"
import type { Source } from "../../domain/payments/Psp.ts"

/** About 3 MB of them. */
const sourcesMax = 10_000

const make = (max: number) =>
  Effect.sync(() => {
    const known = new Map<string, { readonly source: Source; readonly atNanos: bigint }>()

    const remember: KnownSources["Service"]["remember"] = (token, source) =>
      Effect.map(Clock.monotonicTimeNanos, (atNanos) => {
        const key = keyOf(token)
        known.delete(key) // So that the oldest stays in front.
        known.set(key, { source, atNanos })
        if (known.size > max) known.delete(known.keys().next().value ?? "")
      })

    const forget: KnownSources["Service"]["forget"] = (token) => Effect.sync(() => void known.delete(keyOf(token)))

    const recall: KnownSources["Service"]["recall"] = (token) =>
      Effect.map(Clock.monotonicTimeNanos, (now) =>
        Option.map(Option.fromUndefinedOr(known.get(keyOf(token))), ({ atNanos, source }) => ({
          value: source,
          age: Duration.millis(Number(now - atNanos) / 1_000_000)
        }))
      )

    return KnownSources.of({ remember, forget, recall })
  })

export const layerWith = (max: number): Layer.Layer<KnownSources> => Layer.effect(KnownSources, make(max))

export const layer: Layer.Layer<KnownSources> = layerWith(sourcesMax)

const keyOf = (token: string) => hash("sha256", token, "base64url")
