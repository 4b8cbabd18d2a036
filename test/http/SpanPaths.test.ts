import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { Api } from "../../src/domain/api/Api.ts"
import { shownIn } from "../../src/layers/http/SpanPaths.ts"

const shown = shownIn(Api)

describe("SpanPaths", () => {
  it("shows a secret parameter by its name, wherever a span may have it", () => {
    for (const [target, seen] of [
      ["/v1/sources/tok_visa", "/v1/sources/:token"],
      ["/v1/sources/tok_visa/more", "/v1/sources/:token/more"],
      ["/V1/Sources/tok%2Fvisa", "/v1/sources/:token"],
      ["http://127.0.0.1:8080/v1/sources/tok_visa?a=1#b", "http://127.0.0.1:8080/v1/sources/:token?a=1#b"],
      ["/x?next=/v1/sources/tok_visa", "/x?next=/v1/sources/:token"]
    ] as const) {
      assert.strictEqual(shown(target), seen)
    }
  })

  it("leaves what is no secret", () => {
    for (const target of ["/v1/charges/01a210e3", "/v1/sources", "/metrics", "*", ""]) {
      assert.strictEqual(shown(target), target)
    }
  })

  it.prop(
    "shows no token",
    { token: Schema.String.check(Schema.isPattern(/^tok_[A-Za-z0-9_-]{1,40}$/)), host: Schema.Boolean },
    ({ host, token }) => {
      assert.notInclude(shown(`${host ? "http://api.example" : ""}/v1/sources/${token}`), token)
    }
  )
})
