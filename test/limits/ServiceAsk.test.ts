import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"

import { TenantId } from "../../src/domain/Ids.ts"
import { Snapshot } from "../../src/domain/limits/Policies.ts"
import { PolicyName } from "../../src/domain/limits/Policy.ts"
import { empty } from "../../src/domain/limits/PolicyDocument.ts"
import * as ServiceAsk from "../../src/domain/limits/ServiceAsk.ts"

const by = (tenant: TenantId) => ({ tenant, plan: "small" }) as const
const acme = TenantId.make("acme")
const given = { tenant: "t", user: "u", route: "r" }

const none = new Snapshot(0, empty)

const keysFor = (subject: ServiceAsk.Subject, names?: readonly [string, ...Array<string>]) =>
  Result.map(ServiceAsk.keysFor(by(acme), subject, names, none), (keys) =>
    keys.map(({ key, policy }) => [policy.name, ...key])
  )

const first = (tenant: TenantId, about: string) =>
  Result.getOrThrow(ServiceAsk.keysFor(by(tenant), { tenant: about }, undefined, none))[0].key[0]

const names = (subject: ServiceAsk.Subject) => Result.getOrThrow(keysFor(subject))

const wrong = (subject: ServiceAsk.Subject, names?: readonly [string, ...Array<string>]) =>
  Result.getOrThrow(Result.flip(ServiceAsk.keysFor(by(acme), subject, names, none)))

describe("ServiceAsk", () => {
  it.prop(
    "no two tenants that ask, and no two that are asked about, share a key, nor does any with a tenant of ours",
    { one: TenantId, other: TenantId, about: Schema.String, another: Schema.String },
    ({ about, another, one, other }) => {
      assert.strictEqual(first(one, about) === first(other, another), one === other && about === another)
      assert.isFalse(Schema.is(TenantId)(first(one, about)))
      assert.notStrictEqual(first(one, `${other}~${about}`), first(TenantId.make(`${one}.${other}`), about))
    }
  )

  it("asks for the policies of the asker's plan that count by what was said", () => {
    assert.deepStrictEqual(names({ tenant: "t" }), [["small-tenant", "acme~t"]])
    assert.deepStrictEqual(names(given), [
      ["small-tenant", "acme~t"],
      ["small-user", "acme~t", "u"],
      ["small-route", "acme~t", "u", "r"]
    ])
  })

  it("asks for the policies named, of whichever plan, and says what is wrong with them", () => {
    const asked = keysFor(given, ["generous-route", "small-user"])
    assert.deepStrictEqual(Result.getOrThrow(asked), [
      ["generous-route", "acme~t", "u", "r"],
      ["small-user", "acme~t", "u"]
    ])
    assert.deepInclude(wrong(given, ["small-user", "public"]), { _tag: "NoSuchPolicy", at: 1 })
    assert.deepInclude(wrong({ tenant: "t" }, ["small-user"]), {
      policy: PolicyName.make("small-user"),
      missing: "user"
    })
    assert.deepInclude(wrong({ tenant: "t", user: "u" }, ["small-route"]), {
      policy: PolicyName.make("small-route"),
      missing: "route"
    })
    assert.deepInclude(wrong({ tenant: "t", route: "r" }), { policy: PolicyName.make("small-route"), missing: "user" })
  })
})
