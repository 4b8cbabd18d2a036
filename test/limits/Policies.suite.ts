import { assert, layer } from "@effect/vitest"
import { Effect, Exit } from "effect"
import type { Layer } from "effect"

import { AuditLog } from "../../src/domain/access/AuditLog.ts"
import { Policies } from "../../src/domain/limits/Policies.ts"
import { PolicyName } from "../../src/domain/limits/Policy.ts"
import type { NamedPolicy } from "../../src/domain/limits/PolicyDocument.ts"

/** Five in ten seconds for each user. */
export const search: NamedPolicy = {
  name: PolicyName.make("search"),
  scope: "user",
  window_ms: 10_000,
  limit: 5,
  expected_keys: 1000
}

/** Puts a document of one policy, with this limit, in the place of what holds. */
export const replaced = (limit: number, over: Partial<{ readonly from: number; readonly reason: string }> = {}) =>
  Effect.gen(function* () {
    const policies = yield* Policies
    const { version } = yield* policies.current
    const document = { policies: [{ ...search, limit }] }
    return yield* policies.replace({ document, from: version, reason: "more traffic", by: "cli:ada", ...over })
  })

const entries = Effect.flatMap(AuditLog, (audit) => audit.list({ limit: 100 }))
const limitNow = Effect.map(
  Effect.flatMap(Policies, ({ current }) => current),
  (snapshot) => snapshot.offered("small").get("search")?.limit
)

/** As the audit log tells it. */
const told = (limit: number, version: number) => ({ version, policies: [{ ...search, limit }] })

/** What every `Policies` promises. It begins without a document. */
export const policiesSuite = <E>(name: string, adapter: Layer.Layer<Policies | AuditLog, E>) =>
  layer(adapter, { excludeTestServices: true, timeout: "60 seconds" })(`Policies (${name})`, (it) => {
    it.effect("begins with the policies of the house's own plans", () =>
      Effect.gen(function* () {
        const { document, offered, version } = yield* Effect.map(
          Effect.flatMap(Policies, ({ current }) => current),
          (snapshot) => ({ ...snapshot, offered: snapshot.offered("small") })
        )
        assert.deepStrictEqual([version, document], [0, { policies: [] }])
        assert.strictEqual(offered.get("small-user")?.limit, 5)
        assert.isUndefined(offered.get("public"))
      })
    )

    it.effect("a document acts at once where it was put, and the audit log says who did it and what held before", () =>
      Effect.gen(function* () {
        const first = yield* replaced(5)
        assert.strictEqual(yield* limitNow, 5)
        const second = yield* replaced(7, { reason: 'less, ticket "42"' })
        assert.strictEqual(yield* limitNow, 7)
        assert.strictEqual(second.version, first.version + 1)
        const [latest, before] = yield* entries
        assert.deepOwnInclude(latest ?? {}, {
          actor: "cli:ada",
          why: 'less, ticket "42"',
          action: "limits.policies",
          before: told(5, first.version),
          after: told(7, second.version)
        })
        assert.deepStrictEqual(before?.after, told(5, first.version))
      })
    )

    it.effect("what was made from another version than holds is refused, and leaves no entry", () =>
      Effect.gen(function* () {
        const { version } = yield* replaced(8)
        const known = (yield* entries).length
        for (const from of [0, version - 1, version + 1]) {
          assert.strictEqual((yield* Effect.flip(replaced(9, { from })))._tag, "VersionStale")
        }
        assert.strictEqual(yield* limitNow, 8)
        assert.lengthOf(yield* entries, known)
      })
    )

    it.effect("of many made from one version one holds, and it alone has an entry", () =>
      Effect.gen(function* () {
        const { version } = yield* replaced(10)
        const known = (yield* entries).length
        const exits = yield* Effect.forEach(
          [11, 12, 13, 14, 15],
          (limit) => Effect.exit(replaced(limit, { from: version })),
          {
            concurrency: "unbounded"
          }
        )
        const held = exits.flatMap((exit) => (Exit.isSuccess(exit) ? [exit.value.document.policies[0]?.limit] : []))
        assert.deepStrictEqual(held, [yield* limitNow])
        assert.lengthOf(yield* entries, known + 1)
      })
    )

    it.effect("a bad document changes nothing, and is told where it is bad", () =>
      Effect.gen(function* () {
        const { version } = yield* replaced(16)
        const known = (yield* entries).length
        const document = { policies: [search, { ...search, window_ms: 20_000 }] }
        const refused = yield* Effect.flip(
          (yield* Policies).replace({ document, from: version, reason: "x", by: "cli:ada" })
        )
        assert(refused._tag === "DocumentRefused")
        assert.deepStrictEqual(
          refused.wrong.map(({ pointer }) => pointer),
          ["/policies/1/name", "/policies/1/window_ms"]
        )
        assert.strictEqual(yield* limitNow, 16)
        assert.lengthOf(yield* entries, known)
      })
    )
  })
