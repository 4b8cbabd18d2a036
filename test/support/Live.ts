/**
 * How a test file declares a suite that talks to a real server:
 *
 *     describeLive("Limiter (redis)", ["redis"], ({ redis }) => {
 *       limiterSuite("redis", RedisLimiter.layer({ url: redis }), passTime)
 *     })
 *
 * `describeLive(name, servers, body)` runs `body` inside a `describe` of that name when the URL of every
 * server in the list is set (`postgres`: DATABASE_URL, `redis`: REDIS_URL,
 * `redis-cluster`: REDIS_CLUSTER_URL, `kafka`: KAFKA_BROKERS), and hands
 * it those values by server name. Otherwise `body` is not called at all, so it may connect while it is
 * collected; one skipped test stands for the suite, and the run ends by naming it and saying how to start its
 * servers. A variable set to "" counts as unset, as it does in `Settings`.
 */
import { describe, it } from "vitest"

/** The variable that makes a server's suites live. */
const variables = {
  postgres: "DATABASE_URL",
  redis: "REDIS_URL",
  "redis-cluster": "REDIS_CLUSTER_URL",
  kafka: "KAFKA_BROKERS"
} as const

export type Server = keyof typeof variables

declare module "vitest" {
  interface TaskMeta {
    /** On a skipped live suite: the servers it did not find. */
    absentServers?: ReadonlyArray<Server>
  }
}

export const describeLive = <const S extends Server>(
  name: string,
  servers: readonly [S, ...ReadonlyArray<S>],
  body: (urls: Readonly<Record<S, string>>) => void
): void => {
  const urls = servers.map((server) => [server, process.env[variables[server]] ?? ""] as const)
  const absent = urls.flatMap(([server, url]) => (url === "" ? [server] : []))
  if (absent.length === 0) {
    describe(name, () => {
      body(Object.fromEntries(urls) as Record<S, string>)
    })
  } else {
    // Its server is not there; the run ends by saying so.
    describe.skip(name, { meta: { absentServers: absent } }, () => {
      it(`needs ${absent.map((server) => variables[server]).join(" and ")}`, () => {})
    })
  }
}
