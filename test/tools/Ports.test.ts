import { createServer } from "node:net"

import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"

import { candidates, choosePorts, firstPort, isFree, portCount } from "../../tools/servers/Ports.ts"

const Port = Schema.Int.check(Schema.isBetween({ minimum: firstPort, maximum: firstPort + 40 }))
const seed = Schema.Literals(["26f2019c73e1", "000000000000", "ffffffffffff"])

describe("Ports", () => {
  it("offers every port of the range once, wherever it begins", () => {
    for (const seed of ["26f2019c73e1", "000000000000", "ffffffffffff"]) {
      const all = [...candidates(seed)]
      assert.strictEqual(new Set(all).size, portCount)
      assert.isAtLeast(Math.min(...all), firstPort)
      assert.isBelow(Math.max(...all), firstPort + portCount)
    }
  })

  it("begins elsewhere for another checkout", () => {
    assert.notStrictEqual(candidates("26f2019c73e1").next().value, candidates("a61b0f54d2c9").next().value)
  })

  it.effect.prop(
    "keeps every port that is free and its own, and gives none out twice",
    {
      seed,
      kept: Schema.Array(Port),
      busy: Schema.Array(Port),
      taken: Schema.Array(Port)
    },
    ({ seed, kept, busy, taken }) =>
      Effect.promise(async () => {
        const roles = ["a", "b", "c"]
        const before = Object.fromEntries(roles.slice(0, kept.length).map((role, i) => [role, kept[i] ?? 0]))
        const chosen = await choosePorts(roles, before, taken, seed, (port) => Promise.resolve(!busy.includes(port)))
        const ports = roles.map((role) => chosen[role] ?? 0)
        assert.strictEqual(new Set(ports).size, roles.length)
        for (const port of ports) assert.notInclude([...busy, ...taken], port)
        const first = before["a"]
        if (first !== undefined && !busy.includes(first) && !taken.includes(first)) {
          assert.strictEqual(chosen["a"], first)
        }
      })
  )

  it("says when there is no port left", async () => {
    const failed = await choosePorts(["a"], {}, [], "0", () => Promise.resolve(false)).catch((error: Error) => error)
    assert.include(String(failed), "no port between 20000 and 29999 is free")
  })

  it("sees that a port is in use", async () => {
    const server = createServer()
    const port = await new Promise<number>((resolve) =>
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resolve(typeof address === "object" && address !== null ? address.port : 0)
      })
    )
    assert.isFalse(await isFree(port))
    await new Promise((resolve) => server.close(resolve))
    assert.isTrue(await isFree(port))
  })
})
