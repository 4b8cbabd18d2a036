/** What the URLs of the live suites lead to is fit to use, asked through the clients that the house uses. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Cluster, Redis } from "ioredis"
import { Kafka, logLevel } from "kafkajs"

import { describeLive } from "../support/Live.ts"

const own = `cribwork-servers-${process.pid}-${Math.trunc(performance.timeOrigin)}`

describeLive("servers (postgres)", ["postgres"], ({ postgres }) => {
  it.live("lets its owner create a database, and knows who asks", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`create database "${own}"`).unprepared
      yield* sql.unsafe(`drop database "${own}"`).unprepared
      assert.deepStrictEqual(yield* sql`select rolsuper from pg_roles where rolname = current_user`, [
        { rolsuper: true }
      ])
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(postgres), maxConnections: 1 })))
  )

  it.live("refuses a wrong password", () =>
    Effect.gen(function* () {
      const url = new URL(postgres)
      url.password = "wrong"
      const refused = yield* Effect.flip(
        SqlClient.SqlClient.use((sql) => sql`select 1`).pipe(
          Effect.provide(PgClient.layer({ url: Redacted.make(url.href), maxConnections: 1 }))
        )
      )
      assert.strictEqual(refused.reason._tag, "AuthenticationError")
    })
  )
})

describeLive("servers (redis)", ["redis"], ({ redis }) => {
  it("keeps what it is given", async () => {
    const client = new Redis(redis, { lazyConnect: true, maxRetriesPerRequest: 0 })
    try {
      await client.set(own, "kept", "EX", 60)
      assert.strictEqual(await client.getdel(own), "kept")
    } finally {
      client.disconnect()
    }
  })
})

describeLive("servers (redis-cluster)", ["redis-cluster"], ({ "redis-cluster": url }) => {
  it("keeps what it is given on whichever of its masters, and serves every slot", async () => {
    const [host = "", port] = url.slice("redis+cluster://".length).split(",", 1)[0]?.split(":") ?? []
    const client = new Cluster([{ host, port: Number(port) }], { lazyConnect: true })
    try {
      await client.connect()
      assert.lengthOf(client.nodes("master"), 3)
      for (const key of ["a", "b", "c"]) {
        await client.set(`${own}-${key}`, "kept", "EX", 60)
        assert.strictEqual(await client.getdel(`${own}-${key}`), "kept")
      }
      assert.include(await client.cluster("INFO"), "cluster_slots_ok:16384")
    } finally {
      client.disconnect()
    }
  })
})

describeLive("servers (kafka)", ["kafka"], ({ kafka }) => {
  it("hands a group what was produced before it joined", { timeout: 60_000 }, async () => {
    const client = new Kafka({ brokers: kafka.split(","), clientId: own, logLevel: logLevel.NOTHING })
    const [admin, producer, consumer] = [client.admin(), client.producer(), client.consumer({ groupId: own })]
    try {
      await admin.connect()
      await admin.createTopics({ topics: [{ topic: own, numPartitions: 2 }] })
      await producer.connect()
      await producer.send({ topic: own, acks: -1, messages: [{ key: "k", value: "v" }] })
      await consumer.connect()
      await consumer.subscribe({ topic: own, fromBeginning: true })
      const seen = await new Promise<string | undefined>((resolve) => {
        void consumer.run({ eachMessage: async ({ message }) => resolve(message.value?.toString()) })
      })
      assert.strictEqual(seen, "v")
    } finally {
      await consumer.disconnect()
      await admin.deleteTopics({ topics: [own] })
      await Promise.all([producer.disconnect(), admin.disconnect()])
    }
  })
})
