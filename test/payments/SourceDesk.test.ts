import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Option, Redacted } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"

import {
  BreakerError,
  BulkheadFull,
  CallTimedOut,
  CircuitOpen,
  DeadlineTooShort
} from "../../src/domain/breakers/Breaker.ts"
import { Psp, type Source } from "../../src/domain/payments/Psp.ts"
import * as MemoryBreakers from "../../src/layers/breakers/MemoryBreakers.ts"
import * as ScriptedBreakers from "../../src/layers/breakers/ScriptedBreakers.ts"
import * as HttpPsp from "../../src/layers/payments/HttpPsp.ts"
import * as MemoryKnownSources from "../../src/layers/payments/MemoryKnownSources.ts"
import * as PspTwin from "../../src/layers/payments/PspTwin.ts"
import * as ScriptedPsp from "../../src/layers/payments/ScriptedPsp.ts"
import * as SourceDesk from "../../src/layers/payments/SourceDesk.ts"
import * as Settings from "../../src/layers/platform/Settings.ts"

const token = Redacted.make("switch")
const settings = Settings.layer.pipe(
  Layer.provide(
    ConfigProvider.layer(
      ConfigProvider.fromUnknown({
        BREAKER_FAILURES: "2",
        BREAKER_WINDOW: "200 millis",
        BREAKER_WINDOW_CAP: "1 second"
      })
    )
  )
)

/** A desk in front of a real twin, whose health can be set. */
const desk = Layer.unwrap(
  Effect.sync(() => {
    const twin = PspTwin.layerWith({
      port: 0,
      file: join(mkdtempSync(join(tmpdir(), "twin-")), "twin.jsonl"),
      token: Option.some(token),
      apiKey: Option.none(),
      window: Duration.hours(24)
    })
    const provider = HttpPsp.layer.pipe(
      Layer.provide(Layer.effect(HttpPsp.PspUrl, Effect.map(PspTwin.TwinUrl, Redacted.make)))
    )
    return SourceDesk.layer.pipe(
      Layer.provide([provider, MemoryKnownSources.layer, MemoryBreakers.layer]),
      Layer.provideMerge(twin),
      Layer.provide(settings)
    )
  })
)

/** The same desk, of which the test writes what its breaker says. */
const scripted = SourceDesk.layer.pipe(
  Layer.provide([ScriptedPsp.layer, MemoryKnownSources.layer]),
  Layer.provideMerge(
    ScriptedBreakers.layerWith({
      failuresMax: 5,
      window: Duration.seconds(1),
      windowCap: Duration.seconds(30),
      fleet: 10
    })
  ),
  Layer.provide(settings)
)

/** A provider that knows one card, until it does not. */
const forgetful = (card: { isThere: boolean }) =>
  SourceDesk.layer.pipe(
    Layer.provide(
      Layer.effect(
        Psp,
        Effect.map(Psp, (psp) =>
          Psp.of({
            ...psp,
            source: (token) => (card.isThere ? psp.source(token) : Effect.succeed(Option.none<Source>()))
          })
        )
      ).pipe(Layer.provide(ScriptedPsp.layer))
    ),
    Layer.provide(MemoryKnownSources.layer),
    Layer.provideMerge(
      ScriptedBreakers.layerWith({
        failuresMax: 5,
        window: Duration.seconds(1),
        windowCap: Duration.seconds(30),
        fleet: 10
      })
    ),
    Layer.provide(settings)
  )
const refused = {
  _tag: "Refused",
  reason: new CircuitOpen({ state: "open", retryAfter: Duration.seconds(1) })
} as const

const find = (source: string) => Effect.flatMap(SourceDesk.SourceDesk, (sources) => sources.find(source))
const twinIs = (health: { readonly answers: boolean; readonly delay_ms: number }) =>
  Effect.flatMap(PspTwin.TwinUrl, (url) =>
    HttpClient.execute(
      HttpClientRequest.put(`${url}/_twin/health`).pipe(
        HttpClientRequest.bearerToken(token),
        HttpClientRequest.bodyJsonUnsafe(health)
      )
    )
  ).pipe(
    Effect.map(({ status }) => assert.strictEqual(status, 200)),
    Effect.provide(FetchHttpClient.layer)
  )
const last4 = (found: Effect.Success<ReturnType<typeof find>>) =>
  Option.getOrThrow(Option.map(found.value, ({ last4 }) => last4))

describe("SourceDesk", () => {
  it.live(
    "serves what it last knew while the provider is slow or dead, marked and dated, and nothing it never knew",
    () =>
      Effect.gen(function* () {
        const fresh = yield* find("tok_visa")
        assert.deepStrictEqual([fresh._tag, last4(fresh)], ["Fresh", "4242"])
        assert.isTrue(Option.isNone((yield* find("tok_nobody")).value))

        yield* twinIs({ answers: true, delay_ms: 1500 })
        const slow = yield* find("tok_visa")
        assert.deepStrictEqual([slow._tag, last4(slow)], ["Stale", "4242"])
        const asked = yield* find("tok_busy")
        assert.deepStrictEqual([asked._tag, last4(asked)], ["Fresh", "0005"])

        yield* twinIs({ answers: false, delay_ms: 0 })
        let before = Duration.zero
        for (let n = 0; n < 4; n++) {
          const dead = yield* find("tok_visa")
          assert(dead._tag === "Stale")
          assert.isTrue(Duration.isGreaterThan(dead.age, before), Duration.format(dead.age))
          before = dead.age
        }
        const refused = yield* Effect.flip(find("tok_slow"))
        assert.instanceOf(refused, BreakerError)
        assert.strictEqual(refused.dependency, "psp")

        yield* twinIs({ answers: true, delay_ms: 0 })
        const again = yield* Effect.repeat(Effect.delay(find("tok_visa"), "20 millis"), {
          until: ({ _tag }) => _tag === "Fresh"
        })
        assert.strictEqual(last4(again), "4242")
      }).pipe(Effect.provide(desk))
  )

  it.effect("serves what it last knew whatever the breaker refuses for", () =>
    Effect.gen(function* () {
      const script = yield* ScriptedBreakers.BreakerScript
      assert.strictEqual((yield* find("tok_visa"))._tag, "Fresh")
      const second = Duration.seconds(1)
      const reasons = [
        new CircuitOpen({ state: "half-open", retryAfter: second }),
        new BulkheadFull({ inFlightMax: 8 }),
        new DeadlineTooShort({ needs: second, left: Duration.zero }),
        new CallTimedOut({ timeout: second })
      ]
      for (const reason of reasons) {
        yield* script.next("psp", 2, { _tag: "Refused", reason })
        assert.strictEqual((yield* find("tok_visa"))._tag, "Stale", reason._tag)
        assert.strictEqual((yield* Effect.flip(find("tok_never_seen"))).reason, reason)
      }
      assert.strictEqual((yield* find("tok_visa"))._tag, "Fresh")
    }).pipe(Effect.provide(scripted))
  )

  it.effect("shows nothing that is older than a day", () =>
    Effect.gen(function* () {
      const script = yield* ScriptedBreakers.BreakerScript
      yield* find("tok_visa")
      yield* script.next("psp", 2, refused)
      yield* TestClock.adjust("24 hours")
      const yesterday = yield* find("tok_visa")
      assert(yesterday._tag === "Stale")
      assert.strictEqual(Duration.toHours(yesterday.age), 24)
      yield* TestClock.adjust("1 millis")
      assert.instanceOf(yield* Effect.flip(find("tok_visa")), BreakerError)
    }).pipe(Effect.provide(scripted))
  )

  it.effect("does not show what the provider has meanwhile said is gone", () => {
    const card = { isThere: true }
    return Effect.gen(function* () {
      const script = yield* ScriptedBreakers.BreakerScript
      yield* find("tok_visa")
      card.isThere = false
      assert.isTrue(Option.isNone((yield* find("tok_visa")).value))
      yield* script.next("psp", 1, refused)
      assert.instanceOf(yield* Effect.flip(find("tok_visa")), BreakerError)
    }).pipe(Effect.provide(forgetful(card)))
  })
})
