/** What every `EventOutbox` promises. An adapter that passes may stand in for any other. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Duration, Effect, type Layer } from "effect"

import type { NewEvent } from "../../src/domain/events/Envelope.ts"
import { type Claim, type ClaimBounds, EventOutbox, type Published } from "../../src/domain/events/EventOutbox.ts"

/** Small, so that every bound is met; the lease is short, so that a test may wait for its end. */
export const suiteBounds: ClaimBounds = { lease: Duration.millis(250), perStreamMax: 3, eventsMax: 5, bytesMax: 1000 }

let ids = 0
export const event = (topic: string, key: string, payload = "{}"): NewEvent => ({
  topic,
  key,
  id: `00000000-0000-4000-8000-${String(++ids).padStart(12, "0")}`,
  type: "thing.happened",
  headers: { ce_source: "/test", traceparent: "00-1-1-01" },
  payload
})

const sized = (bytes: number) => event("s.v1", "k", "x".repeat(bytes))

const through = (claim: Claim): Published => ({
  topic: claim.topic,
  key: claim.key,
  epoch: claim.epoch,
  through: claim.events.at(-1)?.sequence ?? 0
})

export const eventOutboxSuite = <E>(
  name: string,
  layer: Layer.Layer<EventOutbox, E>,
  passTime: (duration: Duration.Duration) => Effect.Effect<void>
) =>
  withLayer(layer, { excludeTestServices: name !== "memory", timeout: "60 seconds" })(`EventOutbox (${name})`, (it) => {
    /** Tests share a store: each takes away what others left. */
    const empty = Effect.gen(function* () {
      const outbox = yield* EventOutbox
      yield* passTime(suiteBounds.lease)
      for (;;) {
        const claims = yield* outbox.claim("cleaner", 100)
        if (claims.length === 0) return outbox
        yield* outbox.forget("cleaner", claims.map(through))
      }
    })

    it.effect("numbers the events of a key without gaps, whatever happens to other keys", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        assert.deepStrictEqual(
          yield* outbox.stage([event("n.v1", "b"), event("n.v1", "a"), event("n.v1", "b"), event("m.v1", "b")]),
          [1, 1, 2, 1]
        )
        assert.deepStrictEqual(yield* outbox.stage([event("n.v1", "b")]), [3])
      })
    )

    it.effect("hands a stream out in order, as it was staged, each event knowing the one before", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        const staged = [event("o.v1", "k", `{"a":"ü€😀"}`), event("o.v1", "k")]
        yield* outbox.stage(staged)
        const [claim, ...others] = yield* outbox.claim("me", 10)
        assert.deepStrictEqual(others, [])
        assert.deepStrictEqual([claim?.topic, claim?.key], ["o.v1", "k"])
        assert.deepStrictEqual(
          claim?.events.map(({ id, type, headers, payload }) => ({
            topic: "o.v1",
            key: "k",
            id,
            type,
            headers,
            payload
          })),
          staged
        )
        assert.deepStrictEqual(
          claim?.events.map(({ sequence, previous }) => [sequence, previous]),
          [
            [1, 0],
            [2, 1]
          ]
        )
      })
    )

    it.effect("takes the longest due stream first, and stays within its bounds", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        for (const key of ["c", "b", "a"]) {
          yield* outbox.stage([event("f.v1", key)])
          yield* passTime(Duration.millis(2))
        }
        assert.deepStrictEqual(
          (yield* outbox.claim("me", 2)).map(({ key }) => key),
          ["c", "b"]
        )
        yield* empty
        yield* outbox.stage(Array.from({ length: 7 }, () => event("d.v1", "deep")))
        yield* passTime(Duration.millis(2))
        yield* outbox.stage(Array.from({ length: 3 }, () => event("d.v1", "other")))
        const claims = yield* outbox.claim("me", 10)
        assert.deepStrictEqual(
          claims.map((one) => one.events.map(({ sequence }) => sequence)),
          [
            [1, 2, 3],
            [1, 2]
          ]
        )
        yield* outbox.forget("me", claims.map(through))
        assert.deepStrictEqual(
          new Map((yield* outbox.claim("me", 10)).map((one) => [one.key, one.events.map(({ previous }) => previous)])),
          new Map([
            ["deep", [3, 4, 5]],
            ["other", [2]]
          ])
        )
      })
    )

    it.effect("takes one event of any size alone, and no more bytes than its bound", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([sized(5000), sized(600), sized(600)])
        for (const expected of [[5000], [600], [600]]) {
          const claims = yield* outbox.claim("me", 10)
          assert.deepStrictEqual(
            claims.flatMap((one) => one.events.map(({ payload }) => payload.length)),
            expected
          )
          yield* outbox.forget("me", claims.map(through))
        }
      })
    )

    it.effect("lends a stream to one owner at a time, and again when the lease has run out", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([event("l.v1", "k")])
        const [first] = yield* outbox.claim("one", 10)
        yield* outbox.stage([event("l.v1", "k")])
        assert.deepStrictEqual(yield* outbox.claim("two", 10), [])
        yield* passTime(suiteBounds.lease)
        const [second] = yield* outbox.claim("two", 10)
        assert.deepStrictEqual(
          second?.events.map(({ sequence }) => sequence),
          [1, 2]
        )
        assert.isAbove(second?.epoch ?? 0, first?.epoch ?? 0)
      })
    )

    it.effect("lets an owner that overslept remove nothing, release nothing and park nothing", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([event("z.v1", "k")])
        const [stale] = yield* outbox.claim("zombie", 10)
        yield* passTime(suiteBounds.lease)
        const [live] = yield* outbox.claim("live", 10)
        assert.isDefined(stale)
        assert.isDefined(live)
        for (const owner of ["zombie", "live"]) {
          const asked = through(stale)
          assert.deepStrictEqual(yield* outbox.forget(owner, [asked]), { removed: [], busy: [], fenced: [asked] })
          yield* outbox.release(owner, [stale], Duration.zero)
          assert.isFalse(yield* outbox.park(owner, stale, 1, "no"))
        }
        assert.deepStrictEqual(yield* outbox.claim("third", 10), [])
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 1, parked: 0 })
        assert.deepStrictEqual((yield* outbox.forget("live", [through(live)])).removed, [through(live)])
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 0, parked: 0 })
      })
    )

    it.effect("offers what was staged during a lease as soon as the lease ends", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([event("g.v1", "k")])
        const claims = yield* outbox.claim("me", 10)
        yield* outbox.stage([event("g.v1", "k")])
        yield* outbox.forget("me", claims.map(through))
        const [next] = yield* outbox.claim("me", 10)
        assert.deepStrictEqual(
          next?.events.map(({ sequence, previous }) => [sequence, previous]),
          [[2, 1]]
        )
      })
    )

    it.effect("keeps a released stream back for as long as asked", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([event("r.v1", "k")])
        const claims = yield* outbox.claim("me", 10)
        yield* outbox.release("me", claims, Duration.millis(200))
        assert.deepStrictEqual(yield* outbox.claim("me", 10), [])
        yield* passTime(Duration.millis(200))
        const again = yield* outbox.claim("me", 10)
        assert.deepStrictEqual(
          again.map(({ key }) => key),
          ["k"]
        )
        yield* outbox.release("me", again, Duration.zero)
        assert.strictEqual((yield* outbox.claim("me", 10)).length, 1)
      })
    )

    it.effect("holds a parked event and what follows it, lets go what precedes it, and keeps it for a redrive", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        yield* outbox.stage([event("p.v1", "bad"), event("p.v1", "bad"), event("p.v1", "bad")])
        const [bad] = yield* outbox.claim("me", 1)
        assert.isDefined(bad)
        assert.isTrue(yield* outbox.park("me", bad, 2, "too large"))
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 1, parked: 2 })
        yield* outbox.release("me", [bad], Duration.zero)
        const [ready] = yield* outbox.claim("me", 1)
        assert.deepStrictEqual(
          ready?.events.map(({ sequence }) => sequence),
          [1]
        )
        assert.isDefined(ready)
        assert.strictEqual((yield* outbox.forget("me", [through(ready)])).removed.length, 1)
        yield* outbox.stage([event("p.v1", "bad"), event("p.v1", "good")])
        yield* passTime(suiteBounds.lease)
        assert.deepStrictEqual(
          (yield* outbox.claim("me", 10)).map(({ key }) => key),
          ["good"]
        )
        assert.isTrue(yield* outbox.redrive("p.v1", "bad"))
        assert.isFalse(yield* outbox.redrive("p.v1", "bad"))
        const [freed] = yield* outbox.claim("me", 10)
        assert.deepStrictEqual(freed?.events.map(({ id, sequence }) => [id, sequence]).slice(0, 2), [
          [bad.events[1]?.id, 2],
          [bad.events[2]?.id, 3]
        ])
      })
    )

    it.effect("refuses what no store can hold, and stages nothing of that call", () =>
      Effect.gen(function* () {
        const outbox = yield* empty
        for (const wrong of [
          event("", "k"),
          event("w.v1", ""),
          event("w.v1", "k", "\0"),
          event("w.v1", "k", "\ud800")
        ]) {
          const refused = yield* Effect.flip(outbox.stage([event("w.v1", "k"), wrong]))
          assert.strictEqual(refused.reason._tag, "EventRefused")
        }
        assert.deepStrictEqual(yield* outbox.backlog, { waiting: 0, parked: 0 })
      })
    )
  })
