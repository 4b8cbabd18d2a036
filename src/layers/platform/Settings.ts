/**
 * Every setting of every program, on one page. All wrong ones stop the boot together, each named with
 * what it must look like; the value of a secret is never shown. `docs/CONFIG.md` is made from this page.
 */
import { Context, Duration, Layer, Option } from "effect"
import type { Config } from "effect"

import * as RedisUrl from "./RedisUrl.ts"
import * as S from "./Setting.ts"
import { read, WrongSettings } from "./SettingsReader.ts"
import type { Read, Rule } from "./SettingsReader.ts"

export { WrongSettings }

const hostname = S.text(/^[A-Za-z0-9.:_-]{1,255}$/, "a host name or address")
const name = S.text(/^[A-Za-z0-9._-]{1,64}$/, "1 to 64 letters, digits, dots, dashes or underscores")

/** Sections are headings in the documentation only; variables are unique across them. */
export const sections = {
  "Where the boxes are filled": {
    databaseUrl: S.optional(
      "DATABASE_URL",
      S.url("postgres", "postgresql"),
      "The Postgres that is the truth. Unset, `suite` runs its own under `CRIBWORK_DATA`; every other program refuses to start.",
      { secret: true }
    ),
    migrateUrl: S.optional(
      "MIGRATE_DATABASE_URL",
      S.url("postgres", "postgresql"),
      "Same database, as the owner of the schema, for `migrate` only. Unset, `DATABASE_URL` is used.",
      { secret: true }
    ),
    redisUrl: S.optional(
      "REDIS_URL",
      S.urlThat(RedisUrl.form, (text) => Option.isSome(RedisUrl.parse(text))),
      "Redis for limits and for the hot path of idempotency keys: one server, the master that Sentinels name (`?sentinel_password=` where they want one), or a Cluster. `NODE_EXTRA_CA_CERTS` names a CA of your own. Unset, limits are counted in the process.",
      { secret: true }
    ),
    kafkaBrokers: S.optional(
      "KAFKA_BROKERS",
      S.list(/^[A-Za-z0-9.:_[\]-]+:\d{1,5}$/, "a comma-separated list of host:port"),
      "Kafka as the event bus. Unset, `suite` keeps an event log in Postgres."
    ),
    pspUrl: S.optional(
      "PSP_URL",
      S.url("http", "https"),
      "The payment provider. Unset, `suite` starts the provider's twin on loopback."
    )
  },
  HTTP: {
    host: S.withDefault("HOST", hostname, "127.0.0.1", "Address to listen on."),
    port: S.withDefault("PORT", S.int(0, 65_535), "8080", "Port to listen on; 0 picks a free one."),
    bodyMax: S.withDefault(
      "HTTP_BODY_MAX",
      S.int(1024, 16_777_216),
      "65536",
      "Largest request body, in bytes; above it 413."
    ),
    headersMax: S.withDefault(
      "HTTP_HEADERS_MAX",
      S.int(2048, 65_536),
      "16384",
      "Largest request head, in bytes; above it 431."
    ),
    urlMax: S.withDefault(
      "HTTP_URL_MAX",
      S.int(256, 16_384),
      "4096",
      "Longest request target, in bytes; above it 414."
    ),
    requestsMax: S.withDefault(
      "HTTP_REQUESTS_MAX",
      S.int(1, 65_536),
      "2048",
      "Requests in flight at once; above it 503."
    ),
    connectionsMax: S.withDefault(
      "HTTP_CONNECTIONS_MAX",
      S.int(1, 65_536),
      "8192",
      "Open connections; above it new ones are closed at once."
    ),
    headersTimeout: S.withDefault(
      "HTTP_HEADERS_TIMEOUT",
      S.duration("100 millis", "2 minutes"),
      "10 seconds",
      "Time a client has to send a request's head."
    ),
    requestTimeout: S.withDefault(
      "HTTP_REQUEST_TIMEOUT",
      S.duration("100 millis", "10 minutes"),
      "30 seconds",
      "Time a client has to send a whole request; after it 408."
    ),
    answerTimeout: S.withDefault(
      "HTTP_ANSWER_TIMEOUT",
      S.duration("100 millis", "10 minutes"),
      "15 seconds",
      "Time a route has to answer, beyond what `Prefer: wait` asks for; after it 503."
    ),
    keepAlive: S.withDefault(
      "HTTP_KEEP_ALIVE",
      S.duration("0 millis", "10 minutes"),
      "65 seconds",
      "How long an idle connection stays open."
    ),
    waitMax: S.withDefault(
      "HTTP_WAIT_MAX",
      S.duration("0 millis", "30 seconds"),
      "30 seconds",
      "Longest wait that `Prefer: wait` gets."
    ),
    drain: S.withDefault(
      "HTTP_DRAIN",
      S.duration("0 millis", "10 minutes"),
      "10 seconds",
      "How long a stopping server waits for requests in flight."
    ),
    trustedProxies: S.withDefault(
      "HTTP_TRUSTED_PROXIES",
      S.int(0, 16),
      "0",
      "How many proxies in front are believed in `X-Forwarded-For`."
    )
  },
  Access: {
    keyCache: S.withDefault(
      "ACCESS_KEY_CACHE",
      S.duration("0 millis", "1500 millis"),
      "1 second",
      "How long a checked API key is believed; bounds how late a revocation acts."
    ),
    failuresMax: S.withDefault(
      "ACCESS_FAILURES_MAX",
      S.int(1, 100_000),
      "20",
      "Failed authentications an address may spend in a minute before it is refused unseen."
    )
  },
  Postgres: {
    databasePool: S.withDefault(
      "DATABASE_POOL",
      S.int(1, 512),
      "8",
      "Connections of one process for transactions and for reads, each."
    ),
    databaseConnectTimeout: S.withDefault(
      "DATABASE_CONNECT_TIMEOUT",
      S.duration("100 millis", "1 minute"),
      "5 seconds",
      "Time to open a connection."
    ),
    databaseStatementTimeout: S.withDefault(
      "DATABASE_STATEMENT_TIMEOUT",
      S.duration("100 millis", "10 minutes"),
      "10 seconds",
      "Longest statement, lock waits included; and how long a transaction may sit idle. A tenth more must fit below `HTTP_ANSWER_TIMEOUT`."
    )
  },
  Redis: {
    redisDeadline: S.withDefault(
      "REDIS_DEADLINE",
      S.duration("1 millis", "5 seconds"),
      "40 millis",
      "Time one limiter decision may take in Redis before the process decides alone."
    ),
    limitsFleet: S.withDefault(
      "LIMITS_FLEET",
      S.int(1, 1000),
      "1",
      "Processes that share the limits, at least. Above 1, one that starts while Redis is away admits nothing until it has been seen."
    ),
    redisKeyBudget: S.withDefault(
      "IDEMPOTENCY_REDIS_BUDGET",
      S.duration("1 millis", "1 second"),
      "20 millis",
      "Time the hot path waits for Redis before it asks Postgres."
    )
  },
  Kafka: {
    kafkaTls: S.withDefault("KAFKA_TLS", S.flag, "false", "Speak TLS to the brokers."),
    kafkaSaslMechanism: S.optional(
      "KAFKA_SASL_MECHANISM",
      S.oneOf("plain", "scram-sha-256", "scram-sha-512"),
      "SASL mechanism; needs the two below."
    ),
    kafkaSaslUsername: S.optional(
      "KAFKA_SASL_USERNAME",
      S.text(/^.{1,256}$/, "a text of 1 to 256 characters"),
      "SASL user."
    ),
    kafkaSaslPassword: S.optional("KAFKA_SASL_PASSWORD", S.secretText, "SASL password.", { secret: true }),
    kafkaPartitions: S.withDefault(
      "KAFKA_PARTITIONS",
      S.int(1, 1000),
      "12",
      "Partitions of a topic we create; an existing topic must agree."
    ),
    kafkaReplication: S.withDefault("KAFKA_REPLICATION", S.int(1, 9), "1", "Replicas of a topic we create.")
  },
  Payments: {
    idempotencyTtl: S.withDefault(
      "IDEMPOTENCY_TTL",
      S.duration("1 second", "30 days"),
      "24 hours",
      "How long a key's answer is replayed. Dedupe outlives it."
    ),
    tombstoneTtl: S.withDefault(
      "IDEMPOTENCY_TOMBSTONE_TTL",
      S.duration("1 minute", "3650 days"),
      "90 days",
      "How long an expired key still refuses a second charge."
    ),
    pspKey: S.optional("PSP_API_KEY", S.secretText, "Bearer token for the provider.", { secret: true }),
    pspTimeout: S.withDefault(
      "PSP_TIMEOUT",
      S.duration("50 millis", "5 minutes"),
      "10 seconds",
      "Time one call to the provider may take. An attempt may make two."
    ),
    pspLease: S.withDefault(
      "PSP_LEASE",
      S.duration("2 seconds", "1 hour"),
      "60 seconds",
      "How long a worker owns a command before another may take it."
    ),
    pspAttemptsMax: S.withDefault(
      "PSP_ATTEMPTS_MAX",
      S.int(1, 1000),
      "12",
      "Attempts before a command goes to the dead letters."
    ),
    pspBackoffBase: S.withDefault(
      "PSP_BACKOFF_BASE",
      S.duration("1 millis", "1 hour"),
      "1 second",
      "First backoff; it doubles, with full jitter."
    ),
    pspBackoffCap: S.withDefault("PSP_BACKOFF_CAP", S.duration("1 millis", "1 day"), "15 minutes", "Longest backoff."),
    pspWindow: S.withDefault(
      "PSP_DEDUPE_WINDOW",
      S.duration("2 hours", "365 days"),
      "24 hours",
      "How long the provider dedupes on its key. No resend in its last hour or after it."
    ),
    pspConcurrency: S.withDefault("PSP_CONCURRENCY", S.int(1, 1024), "16", "Provider calls a worker has in flight."),
    pspPoll: S.withDefault(
      "PSP_POLL",
      S.duration("10 millis", "1 minute"),
      "200 millis",
      "How often an idle worker looks for due commands."
    )
  },
  Events: {
    relayPoll: S.withDefault(
      "RELAY_POLL",
      S.duration("10 millis", "1 minute"),
      "100 millis",
      "How often an idle relay looks for staged events."
    ),
    relayBatch: S.withDefault("RELAY_BATCH", S.int(1, 10_000), "256", "Keys a relay claims at once."),
    relayLease: S.withDefault(
      "RELAY_LEASE",
      S.duration("1 second", "10 minutes"),
      "30 seconds",
      "How long a relay owns a key's events."
    )
  },
  Breakers: {
    breakerFailures: S.withDefault(
      "BREAKER_FAILURES",
      S.int(1, 10_000),
      "5",
      "Consecutive failures that open a breaker."
    ),
    breakerWindow: S.withDefault(
      "BREAKER_WINDOW",
      S.duration("10 millis", "1 hour"),
      "1 second",
      "First open window; it doubles, and each is drawn between itself and its double."
    ),
    breakerWindowCap: S.withDefault(
      "BREAKER_WINDOW_CAP",
      S.duration("10 millis", "1 day"),
      "30 seconds",
      "Longest open window, jitter included."
    ),
    breakerFleet: S.withDefault(
      "BREAKER_FLEET",
      S.int(1, 100_000),
      "10",
      "Processes that share a dependency; the first open window must be long enough to spread their probes (20 ms each)."
    )
  },
  "The provider's twin": {
    twinPort: S.withDefault("TWIN_PORT", S.int(0, 65_535), "0", "Port of the twin on loopback; 0 picks a free one."),
    twinFile: S.withDefault(
      "TWIN_FILE",
      S.text(/^.{1,1024}$/, "a path"),
      ".cribwork/twin.jsonl",
      "Where the twin keeps what it captured."
    ),
    twinToken: S.optional(
      "TWIN_TOKEN",
      S.secretText,
      "Token that the twin's control writes need; unset, they are refused.",
      { secret: true }
    ),
    twinFollowStdin: S.withDefault(
      "TWIN_FOLLOW_STDIN",
      S.flag,
      "false",
      "End the twin when its standard input closes; set by the process that starts it."
    )
  },
  "This process": {
    dataDir: S.withDefault(
      "CRIBWORK_DATA",
      S.text(/^.{1,1024}$/, "a path"),
      ".cribwork",
      "Folder of the embedded Postgres, the twin and `dev.env`."
    ),
    logFormat: S.withDefault(
      "LOG_FORMAT",
      S.oneOf("auto", "json", "pretty"),
      "auto",
      "`auto` is pretty in a terminal and JSON elsewhere."
    ),
    logLevel: S.withDefault(
      "LOG_LEVEL",
      S.oneOf("debug", "info", "warn", "error"),
      "info",
      "Least level that is written."
    ),
    service: S.withDefault("OTEL_SERVICE_NAME", name, "cribwork", "Name of this service in traces and logs.")
  },
  "The command line": {
    url: S.withDefault(
      "CRIBWORK_URL",
      S.url("http", "https"),
      "http://127.0.0.1:8080",
      "The API that `cribwork` talks to."
    ),
    apiKey: S.optional("CRIBWORK_API_KEY", S.secretText, "The key `cribwork` presents.", { secret: true })
  }
} as const

type All = Read<typeof sections>

/** What no variable can say alone. */
export const rules: ReadonlyArray<Rule<All>> = [
  {
    of: ["pspTimeout", "pspLease"],
    holds: ({ pspLease, pspTimeout }) =>
      Duration.isGreaterThanOrEqualTo(pspLease, Duration.sum(Duration.times(pspTimeout, 2), Duration.seconds(1))),
    says: "PSP_LEASE must be at least twice PSP_TIMEOUT and a second: an attempt may look up and then send, and no call may outlive its lease"
  },
  {
    of: ["pspBackoffBase", "pspBackoffCap"],
    holds: (all) => Duration.isLessThanOrEqualTo(all.pspBackoffBase, all.pspBackoffCap),
    says: "PSP_BACKOFF_BASE must not be longer than PSP_BACKOFF_CAP"
  },
  {
    of: ["breakerWindow", "breakerWindowCap"],
    holds: (all) => Duration.isLessThanOrEqualTo(all.breakerWindow, all.breakerWindowCap),
    says: "BREAKER_WINDOW must not be longer than BREAKER_WINDOW_CAP"
  },
  {
    of: ["kafkaSaslMechanism", "kafkaSaslUsername", "kafkaSaslPassword"],
    holds: ({ kafkaSaslMechanism: mechanism, kafkaSaslUsername: user, kafkaSaslPassword: password }) =>
      Option.isSome(mechanism) === Option.isSome(user) && Option.isSome(user) === Option.isSome(password),
    says: "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD must be set together or not at all"
  }
]

export class Settings extends Context.Service<Settings, All>()("cribwork/platform/Settings") {}

export const layer: Layer.Layer<Settings, WrongSettings | Config.ConfigError> = Layer.effect(
  Settings,
  read(sections, rules)
)
