import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { clientAddress, network, unknownAddress } from "../../src/layers/http/ClientAddress.ts"

const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Group = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))
const v6 = (groups: ReadonlyArray<number>) => groups.map((group) => group.toString(16)).join(":")

describe("clientAddress", () => {
  it("believes as many proxies as it trusts, from the right", () => {
    const forwarded = "6.6.6.6, 1.1.1.1 ,2.2.2.2"
    assert.strictEqual(clientAddress("9.9.9.9", forwarded, 0), "9.9.9.9")
    assert.strictEqual(clientAddress("9.9.9.9", forwarded, 1), "2.2.2.2")
    assert.strictEqual(clientAddress("9.9.9.9", forwarded, 2), "1.1.1.1")
    assert.strictEqual(clientAddress("9.9.9.9", "1.1.1.1", 3), "1.1.1.1")
  })

  it("falls back to the peer when what is forwarded is no address", () => {
    for (const forwarded of [undefined, "", "unknown", "_hidden", "1.2.3", ",", "1.2.3.4.5"]) {
      assert.strictEqual(clientAddress("9.9.9.9", forwarded, 1), "9.9.9.9")
    }
    assert.strictEqual(clientAddress(undefined, undefined, 1), unknownAddress)
  })

  it("reads the forms in which proxies write addresses", () => {
    assert.strictEqual(network("1.2.3.4:5678"), "1.2.3.4")
    assert.strictEqual(network("[2001:db8::1]:443"), "2001:db8:0:0::/64")
    assert.strictEqual(network("fe80::1%eth0"), "fe80:0:0:0::/64")
    assert.strictEqual(network("::ffff:1.2.3.4"), "1.2.3.4")
    assert.strictEqual(network("::FFFF:0102:0304"), "1.2.3.4")
    assert.strictEqual(network("::1"), "0:0:0:0::/64")
  })

  it.prop(
    "gives all addresses of one /64 one budget, and those of another /64 another",
    {
      network: Schema.Tuple([Group, Group, Group, Group]),
      a: Schema.Tuple([Group, Group, Group, Group]),
      b: Schema.Tuple([Group, Group, Group, Group])
    },
    ({ a, b, network: prefix }) => {
      const [first, ...rest] = [0x20_01, ...prefix.slice(1)] as [number, ...Array<number>]
      const one = network(v6([first, ...rest, ...a]))
      assert.strictEqual(one, network(v6([first, ...rest, ...b])))
      assert.notStrictEqual(one, network(v6([first + 1, ...rest, ...a])))
    }
  )

  it.prop(
    "keeps an IPv4 client itself on a dual-stack socket",
    { bytes: Schema.Tuple([Byte, Byte, Byte, Byte]) },
    ({ bytes }) => {
      assert.strictEqual(network(`::ffff:${bytes.join(".")}`), bytes.join("."))
    }
  )
})
