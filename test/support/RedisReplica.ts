/**
 * A Redis and its replica, for a failover that loses what the replica had not heard yet: the way from one to
 * the other can be held up, and behind `make`'s address the promoted replica answers where its master did.
 */
import { Effect, Redacted } from "effect"

import * as Proxy from "./Proxy.ts"
import * as RedisServer from "./RedisServer.ts"

const replication = (port: number) => RedisServer.say(port, "INFO replication")
const offset = (port: number) =>
  Effect.map(replication(port), (info) => /^(?:master|slave)_repl_offset:(\d+)/m.exec(info)?.[1])

/** Both run, and the replica has all that its master has. */
export const pair = Effect.gen(function* () {
  const master = yield* RedisServer.started
  const link = yield* Proxy.make(master.port)
  const replica = yield* RedisServer.makeWith((place) => [
    ...RedisServer.plain(place),
    "--replicaof",
    `127.0.0.1 ${link.port}`
  ])
  yield* RedisServer.say(master.port, "CONFIG SET repl-diskless-sync-delay 0")
  yield* replica.start
  while (!(yield* replication(replica.port)).includes("master_link_status:up")) yield* Effect.sleep("5 millis")
  return {
    master,
    replica,
    /** Waits until the replica has heard everything that was written so far. */
    heard: Effect.gen(function* () {
      while ((yield* offset(master.port)) !== (yield* offset(replica.port))) yield* Effect.sleep("2 millis")
    }),
    /** From now on the replica hears nothing of what its master does. */
    lag: link.stall,
    /** What it had not heard it never will. */
    sever: link.cut
  }
})

export const make = Effect.gen(function* () {
  const { heard, lag, master, replica, sever } = yield* pair
  const front = yield* Proxy.make(master.port)
  return {
    url: Redacted.make(`redis://127.0.0.1:${front.port}`),
    heard,
    lag,
    /** The master is lost, and the replica takes its place with what it has. */
    promote: Effect.gen(function* () {
      yield* sever
      yield* master.kill
      yield* RedisServer.say(replica.port, "REPLICAOF NO ONE")
      yield* front.aimAt(replica.port)
      yield* front.cut
    })
  }
})
