/**
 * GET of one charge with an API key, its scope, three quotas, a request's id and problems, of which a store
 * takes no part: the house on its memory stack against node:http and fastify doing the same by hand.
 */
import type { Measured, Slice } from "./load.ts"
import type { Given } from "./peers/Ground.ts"
import { cost, generate, heard, interleaved, median, rate, ratio, start, stop } from "./Rounds.ts"

export const packages = ["effect", "@effect/platform-node", "fastify"]

const rounds = 7
const connections = 50
const warmMillis = 400
const millis = 1500

export const settings = `${rounds} rounds there and back, ${millis} ms each after ${warmMillis} ms of warming, ${connections} connections`

const asked = async (port: number, path: string, token?: string) => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` }
  })
  const { request_id: _, ...body } = (await response.json()) as Record<string, unknown>
  const named = ["content-type", "content-length", "cache-control", "retry-after", "www-authenticate"]
  const headers = Object.fromEntries(
    named.map((name) => [name, response.headers.get(name)?.replace(/; charset=.*/, "")])
  )
  if (!response.ok) delete headers["content-length"] // The id of a request is part of a problem.
  return JSON.stringify([response.status, response.headers.has("x-request-id"), headers, body])
}

/** Every answer that a route can give, so that nobody is fast because it does less. */
const answers = async (port: number, { charge, keys }: Given) => {
  const path = `/v1/charges/${charge?.id}`
  const token = keys[0]?.token
  const quota = []
  for (let ask = 0; ask < 6; ask++) {
    quota.push((await asked(port, path, keys.at(-1)?.token)).replace(/"retry_after_ms":\d+/, ""))
  }
  return [
    await asked(port, path, token),
    await asked(port, path),
    await asked(port, path, `cw_${"0".repeat(16)}_${"0".repeat(64)}`),
    await asked(port, "/v1/charges/nothing", token),
    ...quota
  ]
}

export const run = async (profile: ReadonlyArray<string>): Promise<string> => {
  const ours = start("./house.ts", {}, profile)
  const { given, port } = await heard<{ readonly port: number; readonly given: Given }>(ours)
  const env = { BENCH_GIVEN: JSON.stringify(given) }
  const raw = start("./peers/raw.ts", env, profile)
  const fastify = start("./peers/fastify.ts", env)
  const generator = start("./load.ts", {})
  const all = { house: ours, raw, fastify }
  try {
    const ports = {
      house: port,
      raw: (await heard<{ readonly port: number }>(raw)).port,
      fastify: (await heard<{ readonly port: number }>(fastify)).port
    }
    const names = ["house", "raw", "fastify"] as const
    const told = await Promise.all(names.map(async (name) => (await answers(ports[name], given)).join("\n")))
    if (new Set(told).size !== 1) throw new Error(`the peers do not answer alike:\n${told.join("\n\n")}`)

    const tokens = given.keys.filter(({ plan }) => plan === "generous").map(({ token }) => token)
    const figures = await interleaved(names, rounds, (name) =>
      generate(generator, {
        port: ports[name],
        connections,
        tokens,
        kind: "get",
        path: `/v1/charges/${given.charge?.id}`,
        warmMillis,
        millis,
        watched: { server: { pid: all[name].pid ?? 0, family: false } }
      } satisfies Slice)
    )

    const cpuOf = cost("server")
    const goal = (peer: ReadonlyArray<Measured>) =>
      ratio(figures.house, peer, (one, other) => cpuOf(other) / cpuOf(one))
    const pace = (peer: ReadonlyArray<Measured>) => ratio(figures.house, peer, (one, other) => rate(one) / rate(other))
    const row = (name: (typeof names)[number]) =>
      `| ${name} | ${median(figures[name].map(cpuOf)).toFixed(1)} | ${goal(figures[name]).toFixed(2)} | ${Math.round(median(figures[name].map(rate)))} | ${pace(figures[name]).toFixed(2)} | ${median(figures[name].map(({ p50 }) => p50)).toFixed(1)} | ${median(figures[name].map(({ p99 }) => p99)).toFixed(1)} | ${median(figures[name].map(cost("generator"))).toFixed(1)} |`
    return [
      "| server | CPU µs a request | ours, by CPU | requests/s | ours, by rate | p50 ms | p99 ms | generator µs |",
      "|---|---|---|---|---|---|---|---|",
      ...names.map(row)
    ].join("\n")
  } finally {
    await Promise.all([ours, raw, fastify, generator].map(stop))
  }
}
