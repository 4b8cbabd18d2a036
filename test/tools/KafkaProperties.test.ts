import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { kafkaProperties, propertiesText } from "../../tools/servers/KafkaProperties.ts"

const ports = { client: 20_001, controller: 20_002, fault: 20_003, proxy: 20_004 }

/** Reads Latin-1 bytes as Java does, as far as we write such a file. */
const parse = (bytes: Buffer) =>
  Object.fromEntries(
    bytes
      .toString("latin1")
      .split("\n")
      .slice(0, -1)
      .map((line) => {
        const at = line.indexOf("=")
        const value = line.slice(at + 1).replace(/^[ \t\f]+/, "")
        const unescaped = value.replaceAll(/\\u([0-9a-f]{4})|\\(.)/g, (_, code: string | undefined, char: string) =>
          code === undefined ? char : String.fromCharCode(Number.parseInt(code, 16))
        )
        return [line.slice(0, at), unescaped]
      })
  )

describe("KafkaProperties", () => {
  it("sends the clients of each listener to where they belong", () => {
    const properties = kafkaProperties(ports, "/data")
    assert.strictEqual(
      properties["listeners"],
      "PLAINTEXT://127.0.0.1:20001,FAULT://127.0.0.1:20003,CONTROLLER://127.0.0.1:20002"
    )
    assert.strictEqual(properties["advertised.listeners"], "PLAINTEXT://127.0.0.1:20001,FAULT://127.0.0.1:20004")
    assert.strictEqual(properties["controller.quorum.voters"], "1@127.0.0.1:20002")
  })

  it("listens nowhere but on loopback", () => {
    for (const listener of (kafkaProperties(ports, "/data")["listeners"] ?? "").split(",")) {
      assert.match(listener, /^[A-Z]+:\/\/127\.0\.0\.1:\d+$/)
    }
  })

  it.prop("reads back what it wrote, whatever the folder is called", { data: Schema.NonEmptyString }, ({ data }) => {
    const properties = kafkaProperties(ports, data)
    assert.deepStrictEqual(parse(Buffer.from(propertiesText(properties))), properties)
  })
})
