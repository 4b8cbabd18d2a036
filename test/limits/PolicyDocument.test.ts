import { assert, describe, it } from "@effect/vitest"
import { Duration, Result, Schema, SchemaIssue } from "effect"

import * as PolicyDocument from "../../src/domain/limits/PolicyDocument.ts"
import { search } from "./Policies.suite.ts"

const decode = Schema.decodeUnknownResult(PolicyDocument.PolicyDocument, { errors: "all", onExcessProperty: "error" })
const issues = SchemaIssue.makeFormatterStandardSchemaV1()

/** Where the schema says that a document of these is wrong. */
const misshapen = (...policies: ReadonlyArray<object>) => {
  const decoded = decode({ policies })
  return Result.isSuccess(decoded)
    ? []
    : issues(decoded.failure.issue).issues.map(({ path }) => (path ?? []).map(String).join("/"))
}

const document = (...policies: ReadonlyArray<object>): PolicyDocument.PolicyDocument =>
  Result.getOrThrow(decode({ policies }))

/** Where what no single member shows is wrong. */
const wrong = (policies: ReadonlyArray<object>, before: ReadonlyArray<object> = []) =>
  PolicyDocument.wrongIn(document(...policies), document(...before)).map(({ pointer }) => pointer)

describe("PolicyDocument", () => {
  it("knows no policy that could not be kept, and says where it is wrong", () => {
    const wrongs: ReadonlyArray<readonly [object, ReadonlyArray<string>]> = [
      [{ limit: 0 }, ["policies/0/limit"]],
      [{ limit: 1_000_001 }, ["policies/0/limit"]],
      [{ limit: { small: 0, generous: 1 } }, ["policies/0/limit"]],
      [{ limit: { small: 1 } }, ["policies/0/limit"]],
      [{ scope: "address" }, ["policies/0/scope"]],
      [{ window_ms: 0 }, ["policies/0/window_ms"]],
      [{ window_ms: 86_400_001 }, ["policies/0/window_ms"]],
      [{ name: "A:b" }, ["policies/0/name"]],
      [{ expected_keys: 0 }, ["policies/0/expected_keys"]],
      [{ cost_max: 0 }, ["policies/0/cost_max"]],
      [{ outage: "maybe" }, ["policies/0/outage"]],
      [{ lease: { units: 0, ttl_ms: 60_001 } }, ["policies/0/lease/units", "policies/0/lease/ttl_ms"]],
      [{ observed: true }, ["policies/0/observed"]]
    ]
    for (const [member, places] of wrongs) {
      for (const place of places) {
        const found = misshapen({ ...search, ...member })
        assert.isTrue(
          found.some((one) => one.startsWith(place)),
          `${JSON.stringify(member)}: ${found.join(" ")}`
        )
      }
    }
    assert.deepStrictEqual(misshapen(search), [])
    assert.deepStrictEqual(misshapen(...Array.from({ length: 101 }, () => search)), ["policies"])
  })

  it("refuses two of one name, the names of the house's own, and what goes above its own limit", () => {
    assert.deepStrictEqual(wrong([search, { ...search, window_ms: 1 }]), ["/policies/1/name"])
    for (const name of ["small-user", "generous-route", "public", "failed-authentication"]) {
      assert.deepStrictEqual(wrong([{ ...search, name }]), ["/policies/0/name"], name)
    }
    const limit = { small: 3, generous: 100 }
    assert.deepStrictEqual(wrong([{ ...search, limit, cost_max: 3 }]), [])
    assert.deepStrictEqual(wrong([{ ...search, limit, cost_max: 4 }]), ["/policies/0/cost_max"])
    assert.deepStrictEqual(wrong([{ ...search, limit, lease: { units: 4, ttl_ms: 1 } }]), ["/policies/0/lease/units"])
  })

  it("a name keeps its window, and may change everything else", () => {
    assert.deepStrictEqual(wrong([{ ...search, window_ms: 20_000 }], [search]), ["/policies/0/window_ms"])
    assert.deepStrictEqual(wrong([{ ...search, limit: 7, outage: "closed" }], [search]), [])
    assert.deepStrictEqual(wrong([{ ...search, name: "find", window_ms: 20_000 }], [search]), [])
  })

  it("has a budget of memory for all of its policies together", () => {
    const half = { ...search, limit: { small: 1, generous: 20_000 }, expected_keys: 1000 }
    assert.deepStrictEqual(wrong([half, { ...half, name: "other" }]), [])
    const over = [half, { ...half, name: "other" }, { ...search, name: "more", limit: 1, expected_keys: 1 }]
    assert.deepStrictEqual(wrong(over), ["/policies/2/expected_keys"])
  })

  it("is what a limiter is asked with, by plan", () => {
    const whole = {
      ...search,
      limit: { small: 5, generous: 100 },
      cost_max: 4,
      outage: "strict",
      lease: { units: 2, ttl_ms: 500 },
      observe: true
    }
    const [of] = document(whole).policies
    assert(of !== undefined)
    assert.deepOwnInclude(PolicyDocument.policyFor(of, "small"), {
      name: of.name,
      scope: "user",
      limit: 5,
      window: Duration.seconds(10),
      costMax: 4,
      outage: "strict",
      observe: true,
      lease: { units: 2, ttl: Duration.millis(500) }
    })
    assert.strictEqual(PolicyDocument.policyFor(of, "generous").limit, 100)
    assert.strictEqual(PolicyDocument.policyFor({ ...of, limit: 9 }, "small").limit, 9)
  })
})
