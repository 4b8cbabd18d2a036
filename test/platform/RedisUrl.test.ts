import { assert, describe, it } from "@effect/vitest"
import { Option, Schema } from "effect"

import { parse } from "../../src/layers/platform/RedisUrl.ts"

const read = (url: string) => Option.getOrUndefined(parse(url))

describe("RedisUrl", () => {
  it("reads a single server, with what is left out", () => {
    const at = { host: "cache", port: 6379 }
    assert.deepStrictEqual(read("redis://cache"), { _tag: "Single", tls: false, login: {}, at, db: 0 })
    assert.deepStrictEqual(read("rediss://u%40x:p%2F%3A%40@[::1]:7000/3"), {
      _tag: "Single",
      tls: true,
      login: { username: "u@x", password: "p/:@" },
      at: { host: "::1", port: 7000 },
      db: 3
    })
  })

  it("reads who names the master, and what each asks for", () => {
    assert.deepStrictEqual(read("redis+sentinel://:secret@s1,s2:5000/mymaster/2?sentinel_password=p%26q"), {
      _tag: "Sentinel",
      tls: false,
      login: { password: "secret" },
      sentinels: [
        { host: "s1", port: 26_379 },
        { host: "s2", port: 5000 }
      ],
      master: "mymaster",
      db: 2,
      sentinelLogin: { password: "p&q" }
    })
  })

  it("reads the nodes of a cluster", () => {
    assert.deepStrictEqual(read("rediss+cluster://app:secret@a:1,b"), {
      _tag: "Cluster",
      tls: true,
      login: { username: "app", password: "secret" },
      nodes: [
        { host: "a", port: 1 },
        { host: "b", port: 6379 }
      ]
    })
  })

  it("refuses what it would have to guess or leave out", () => {
    for (const url of [
      "redis:/cache",
      "redis://",
      "redis://a,b",
      "redis://a:0",
      "redis://a:65536",
      "redis://a:6379/0/1",
      "redis://a/x",
      "redis://user@a",
      "redis://a:b:c@h",
      "redis://%zz:p@h",
      "redis://a?enableOfflineQueue=true",
      "redis://a#x",
      "redis+cluster://a,b/1",
      "redis+cluster://a,,b",
      "redis+cluster://a?x=1",
      "redis+sentinel://a,b",
      "redis+sentinel://a,b/",
      "redis+sentinel://a/my master",
      "redis+sentinel://a/m/0/1",
      "redis+sentinel://a/m?sentinel_user=x",
      "redis+sentinel://a/m?sentinel_username=x",
      "redis+pubsub://a",
      "http://a"
    ]) {
      assert.isUndefined(read(url), url)
    }
  })

  const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
  const Word = Schema.NonEmptyString.check(Schema.isPattern(/^[a-z0-9.-]{1,20}$/))
  const Hosts = Schema.NonEmptyArray(Schema.Struct({ host: Word, port: Port }))
  it.prop(
    "finds again every host, and every login whatever it holds",
    { hosts: Hosts, username: Schema.String, password: Schema.NonEmptyString },
    ({ hosts, password, username }) => {
      const list = hosts.map(({ host, port }) => `${host}:${port}`).join(",")
      const [user, secret] = [username.toWellFormed(), password.toWellFormed()]
      const place = read(`redis+cluster://${encodeURIComponent(user)}:${encodeURIComponent(secret)}@${list}`)
      assert(place?._tag === "Cluster")
      assert.deepStrictEqual([...place.nodes], [...hosts])
      assert.deepStrictEqual(place.login, { ...(user === "" ? {} : { username: user }), password: secret })
    }
  )
})
