/**
 * What a person sees who starts the suite: which box is filled by what, where it listens, and one command that
 * charges. On its own Postgres it also keeps a development key, and writes `dev.env` for scripts.
 */
import { resolve } from "node:path"

import { Effect, Layer, Option, Redacted } from "effect"
import { HttpServer } from "effect/http"

import { topic } from "../../domain/payments/Settlement.ts"
import * as DevelopmentKey from "../../layers/access/DevelopmentKey.ts"
import { TwinAccess } from "../../layers/payments/TwinProcess.ts"
import { Settings } from "../../layers/platform/Settings.ts"

type All = Settings["Service"]

/** A server's place without what its URL may carry beside it. */
const place = (url: Redacted.Redacted) => new URL(Redacted.value(url)).host

const boxes = (settings: All, twin: string | undefined): ReadonlyArray<readonly [string, string]> => [
  [
    "database",
    Option.match(settings.databaseUrl, {
      onNone: () => "Postgres 18, embedded; kept across restarts, wiped by `npm start -- --fresh`",
      onSome: (url) => `Postgres at ${place(url)}`
    })
  ],
  [
    "limits, keys",
    Option.match(settings.redisUrl, {
      onNone: () => "counted in this process; set REDIS_URL to share them",
      onSome: (url) => `Redis at ${place(url)}`
    })
  ],
  [
    "event bus",
    Option.match(settings.kafkaBrokers, {
      onNone: () => `an event log in the same Postgres, topic ${topic}; set KAFKA_BROKERS for Kafka`,
      onSome: (brokers) => `Kafka at ${brokers.join(", ")}, topic ${topic}`
    })
  ],
  [
    "provider",
    Option.match(settings.pspUrl, {
      onNone: () => `the provider's twin, a process at ${twin ?? "?"}; set PSP_URL for another`,
      onSome: (url) => `the provider at ${place(url)}`
    })
  ]
]

const curl = (url: string, key: string) =>
  [
    `curl -i ${url}/v1/charges \\`,
    `  -H "Authorization: Bearer ${key}" \\`,
    `  -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" -H "Prefer: wait=5" \\`,
    `  -H "Content-Type: application/json" -d '{"amount":1050,"currency":"USD","source":"tok_visa"}'`
  ].join("\n    ")

const make = Effect.gen(function* () {
  const settings = yield* Settings
  const { address } = yield* HttpServer.HttpServer
  const twin = yield* Effect.serviceOption(TwinAccess)
  const host = settings.host === "0.0.0.0" || settings.host === "::" ? "127.0.0.1" : settings.host
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${"port" in address ? address.port : settings.port}`
  const file = resolve(settings.dataDir, "dev.env")

  const say = Option.isNone(settings.databaseUrl)
    ? Effect.gen(function* () {
        const key = Redacted.value(yield* DevelopmentKey.ensure(file))
        yield* DevelopmentKey.write(file, {
          CRIBWORK_URL: url,
          CRIBWORK_API_KEY: key,
          ...(Option.isSome(twin)
            ? { CRIBWORK_TWIN_URL: twin.value.url, CRIBWORK_TWIN_TOKEN: Redacted.value(twin.value.token) }
            : {})
        })
        return [
          `A charge, after  source ${settings.dataDir}/dev.env`,
          "",
          `    ${curl("$CRIBWORK_URL", "$CRIBWORK_API_KEY")}`
        ]
      })
    : Effect.succeed([
        "Make a key:  npm run cribwork -- keys create --tenant acme --user ada --scope charges:write",
        "",
        `    ${curl(url, "<key>")}`
      ])

  const lines = [
    "",
    `  Cribwork is up at ${url}   reference ${url}/docs   health ${url}/health/ready`,
    "",
    ...boxes(settings, Option.getOrUndefined(twin)?.url).map(([box, filling]) => `    ${box.padEnd(14)}${filling}`),
    "",
    ...(yield* say).map((line) => (line === "" ? line : `  ${line}`)),
    "",
    ""
  ]
  yield* Effect.sync(() => process.stdout.write(lines.join("\n")))
})

export const layer = Layer.effectDiscard(make)
