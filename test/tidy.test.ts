/**
 * What keeps the house in order: each rule holds for the whole repository, and is seen to fail on a sample
 * that breaks it.
 */
import { assert, describe, it } from "@effect/vitest"

import { sections } from "../src/layers/platform/Settings.ts"
import { root } from "./support/Run.ts"
import { arrows } from "./tidy/Arrows.ts"
import { clientsHaveBreakers, clientsHaveBreakersOf, opensConnections } from "./tidy/Clients.ts"
import { excepted } from "./tidy/Exceptions.ts"
import { migrationsInOrder, namedAfterExport, ownWords, pages, plainNames } from "./tidy/Names.ts"
import { examplesAreRecorded, promisesHaveTests, settingsAreDocumented } from "./tidy/Promises.ts"
import { readAll, Source } from "./tidy/Source.ts"
import type { Rule } from "./tidy/Source.ts"
import { adaptersHaveSuites, skipsHaveReasons } from "./tidy/Suites.ts"
import { words } from "./tidy/Words.ts"

const variables = Object.values(sections).flatMap((section) =>
  Object.values(section).map(({ variable }: { readonly variable: string }) => variable)
)

const rules: Readonly<Record<string, Rule>> = {
  "imports follow the arrows": arrows,
  "names say what a thing is": plainNames,
  "a file under src is named after its main export": namedAfterExport,
  "a file is a page, a program a sentence": pages,
  "words that stay out of the code stay out": words,
  "every adapter runs the suite of its port": adaptersHaveSuites,
  "nothing is skipped without a reason, and nothing focused": skipsHaveReasons,
  "whoever calls something remote goes through a breaker": clientsHaveBreakers,
  "every promise names a test that exists": promisesHaveTests,
  "every setting is documented": settingsAreDocumented(variables),
  "every example has its output recorded": examplesAreRecorded,
  "migrations are numbered without gaps": migrationsInOrder,
  "the repository speaks of itself alone": ownWords
}

describe("the repository", () => {
  const files = readAll(root)
  const complaints = Object.entries(rules).map(([sentence, rule]) => ({ sentence, said: rule(files) }))
  const { left, unused } = excepted(complaints)

  for (const { sentence, said } of left) {
    it(`${sentence}`, () => {
      assert.deepStrictEqual(
        said.map(({ path, why }) => `${path}: ${why}`),
        []
      )
    })
  }

  it("needs every exception that it makes", () => {
    assert.deepStrictEqual(unused, [])
  })
})

/** What a rule says of files that are given as path and text. */
const said = (rule: Rule, files: Readonly<Record<string, string>>) =>
  rule(Object.entries(files).map(([path, text]) => new Source(path, text))).map(({ path, why }) => `${path}: ${why}`)

const arrowsSaid = (path: string, text: string) =>
  said(arrows, { "package.json": `{"dependencies": {"effect": "4"}}`, [path]: text })

const skips = (text: string) => said(skipsHaveReasons, { "test/X.test.ts": text }).length

const promise = (cell: string) => `| promise | how | test |\n|---|---|---|\n| x | a \\| b | ${cell} |\n`

describe("arrows", () => {
  for (const [path, text] of [
    ["src/domain/limits/Limiter.ts", `import { Redis } from "../../layers/platform/Redis.ts"`],
    ["src/domain/limits/Limiter.ts", `import type { Ledger } from "../payments/Ledger.ts"`],
    ["src/domain/limits/Limiter.ts", `import { Api } from "../api/Api.ts"`],
    ["src/domain/Money.ts", `import { Ledger } from "./payments/Ledger.ts"`],
    ["src/domain/limits/Limiter.ts", `import { Effect, Layer } from "effect"`],
    ["src/domain/limits/Limiter.ts", `import { SqlClient } from "effect/sql"`],
    ["src/domain/limits/Limiter.ts", `import { HttpApi } from "effect/http-api"`],
    ["src/domain/limits/Limiter.ts", `import { randomUUID } from "node:crypto"`],
    ["src/domain/limits/Limiter.ts", `import * as fs from "node:fs"`],
    ["src/layers/limits/MemoryLimiter.ts", `export { Wake } from "../payments/Wake.ts"`],
    ["src/layers/limits/MemoryLimiter.ts", `const wake = await import("../payments/Wake.ts")`],
    ["src/layers/limits/MemoryLimiter.ts", `type Wake = import("../payments/Wake.ts").Wake`],
    ["src/layers/limits/MemoryLimiter.ts", `import { Server } from "../http/Server.ts"`],
    ["src/layers/access/SqlApiKeys.ts", `import { Ledger } from "../payments/SqlLedger.ts"`],
    ["src/layers/payments/PspTwin.ts", `import { keys } from "../access/SqlApiKeys.ts"`],
    ["src/layers/platform/Redis.ts", `import * as MemoryBreakers from "../breakers/MemoryBreakers.ts"`],
    ["src/layers/http/Server.ts", `import "../../programs/api.ts"`],
    ["src/layers/http/Server.ts", `import { it } from "vitest"`],
    ["src/programs/suite.ts", `import { fixture } from "../../test/support/Fixture.ts"`]
  ] as const) {
    it(`refuse ${path} the line ${text}`, () => assert.lengthOf(arrowsSaid(path, text), 1))
  }

  it("let the way of the house pass", () => {
    for (const [path, text] of [
      [
        "src/domain/limits/Limiter.ts",
        `import { hash } from "node:crypto"\nimport { Schema } from "effect"\nimport { TenantId } from "../Ids.ts"`
      ],
      [
        "src/domain/api/Api.ts",
        `import { HttpApi } from "effect/http-api"\nimport { Limiter } from "../limits/Limiter.ts"`
      ],
      [
        "src/layers/payments/PspWorker.ts",
        `import { Breaker } from "../../domain/breakers/Breaker.ts"\nimport { Settings } from "../platform/Settings.ts"`
      ],
      ["src/layers/platform/Redis.ts", `import { Breaker } from "../../domain/breakers/Breaker.ts"`],
      ["src/layers/http/Server.ts", `import * as ChargeIntake from "../payments/ChargeIntake.ts"\nimport "node:http"`],
      ["src/programs/api.ts", `import * as Live from "./stacks/Live.ts"`],
      ["test/limits/MemoryLimiter.test.ts", `import { it } from "vitest"`]
    ] as const) {
      assert.deepStrictEqual(arrowsSaid(path, text), [])
    }
  })
})

describe("names", () => {
  it("are no drawers and no masks", () => {
    assert.deepStrictEqual(
      said(plainNames, {
        "src/domain/limits/index.ts": "",
        "test/helpers/Clock.ts": "",
        "src/layers/limits/LimiterImpl.ts": "",
        "test/payments/PspMock.test.ts": "",
        "src/layers/limits/Ring.ts": "export class FakeRing {}",
        "src/layers/limits/Windows.ts": "export const windowsDefault = 1; export class Implied {}"
      }),
      [
        `src/domain/limits/index.ts: "index" says nothing about what is inside`,
        `test/helpers/Clock.ts: "helpers" says nothing about what is inside`,
        "src/layers/limits/LimiterImpl.ts: LimiterImpl is named after its role in the code, not after what it is",
        "test/payments/PspMock.test.ts: PspMock is named after its role in the code, not after what it is",
        "src/layers/limits/Ring.ts: FakeRing is named after its role in the code, not after what it is"
      ]
    )
  })

  it("are those of the main export", () => {
    assert.deepStrictEqual(
      said(namedAfterExport, {
        "src/domain/limits/Limiter.ts": "export class Limiter {}",
        "src/domain/payments/PspKey.ts": "export const pspKey = 1",
        "src/layers/limits/MemoryLimiter.ts": "export const layer = 1",
        "src/domain/limits/SlidingWindow.ts": "export const decide = 1",
        "src/layers/limits/Reader.ts": `import * as SlidingWindow from "../../domain/limits/SlidingWindow.ts"; export class Reader {}`,
        "src/domain/limits/policy.ts": "export class policy {}",
        "src/domain/limits/Plan.ts": "export const tariff = 1",
        "src/programs/psp-twin.ts": "",
        "src/programs/PspTwin.ts": ""
      }),
      [
        "src/domain/limits/policy.ts: is not PascalCase",
        "src/domain/limits/Plan.ts: exports nothing of its name and is never imported as a namespace",
        "src/programs/PspTwin.ts: a program is lower case, words apart by dashes"
      ]
    )
  })

  it("of migrations count up", () => {
    const files = { "migrations/0001_a.sql": "", "migrations/0003_b.sql": "", "migrations/schema.sql": "" }
    assert.deepStrictEqual(said(migrationsInOrder, files), ["migrations/0003_b.sql: is not 0002_name.sql"])
    assert.lengthOf(said(migrationsInOrder, { "migrations/0001_a.sql": "", "migrations/0001_b.sql": "" }), 1)
    assert.lengthOf(said(migrationsInOrder, { "migrations/0001-A.sql": "" }), 1)
  })
})

describe("pages", () => {
  it("end", () => {
    assert.deepStrictEqual(
      said(pages, {
        "src/domain/Money.ts": "x\n".repeat(299),
        "src/domain/Ids.ts": "x\n".repeat(300),
        "src/programs/api.ts": "x\n".repeat(31),
        "src/programs/stacks/Live.ts": "x\n".repeat(31),
        "src/domain/Cursor.ts": "// ---- pages ----\nx"
      }),
      [
        "src/domain/Ids.ts: has 300 lines, more than 299",
        "src/programs/api.ts: has 31 lines, more than 30",
        "src/domain/Cursor.ts: has a ruler in line 1"
      ]
    )
  })
})

describe("words", () => {
  for (const [word, text] of [
    ["Date.now", "export const at = Date.now()"],
    ["new Date", "export const at = new Date()"],
    ["Math.random", `export const chance = Math["random"]()`],
    ["process.env", "const { PORT } = process.env"],
    ["crypto.randomUUID", "crypto.randomUUID()"],
    ["setTimeout", "setTimeout(() => {}, 1)"],
    ["setInterval", "setInterval(() => {}, 1)"],
    ["console", "console.log(1)"],
    ["any", "const x: any = 1"],
    ["as unknown as", "const x = 1 as unknown as string"],
    ["DDL", "sql`create table x ()`"],
    ["DDL", `const ddl = "ALTER  TABLE x add y int"`],
    ["@ts-ignore", "// @ts-ignore\nconst x: string = 1"],
    ["@ts-expect-error", "/* @ts-expect-error */ const x: string = 1"]
  ] as const) {
    it(`find ${word} in ${text.replaceAll("\n", " ")}`, () => {
      assert.deepStrictEqual(said(words, { "src/layers/limits/X.ts": text }), [
        `src/layers/limits/X.ts: line 1: ${word}`
      ])
    })
  }

  it("mean nothing in a comment, a text, a name, or outside src", () => {
    assert.deepStrictEqual(
      said(words, {
        "src/layers/limits/X.ts": `// Date.now, any, console.log
          const why = "Math.random and process.env"; socket.setTimeout(1); const { any, console } = x; y as unknown`,
        "test/X.ts": "console.log(Date.now())"
      }),
      []
    )
  })
})

describe("suites", () => {
  const files = {
    "src/domain/limits/Limiter.ts": "export class Limiter {}",
    "src/layers/limits/MemoryLimiter.ts": `import { Limiter } from "../../domain/limits/Limiter.ts"; Limiter.of({})`,
    "test/limits/Limiter.suite.ts": `import { Limiter } from "../../src/domain/limits/Limiter.ts"; export const limiterSuite = () => Limiter`,
    "test/limits/stacks.ts": `export * as Memory from "../../src/layers/limits/MemoryLimiter.ts"`
  }
  const line = `import { limiterSuite } from "./Limiter.suite.ts"; import { Memory } from "./stacks.ts"; limiterSuite(Memory)`
  const unproven = "src/layers/limits/MemoryLimiter.ts: no test runs the suite of Limiter on it"

  it("are run by every adapter, near or through a stack", () => {
    assert.deepStrictEqual(said(adaptersHaveSuites, { ...files, "test/limits/MemoryLimiter.test.ts": line }), [])
  })

  it("are missed when no test calls them, or calls them without the adapter", () => {
    assert.deepStrictEqual(said(adaptersHaveSuites, files), [unproven])
    const uncalled = line.replace("limiterSuite(Memory)", "")
    assert.deepStrictEqual(said(adaptersHaveSuites, { ...files, "test/limits/A.test.ts": uncalled }), [unproven])
    const alone = line.replace(/import \{ Memory.*?;/, "")
    assert.deepStrictEqual(said(adaptersHaveSuites, { ...files, "test/limits/A.test.ts": alone }), [unproven])
  })

  it("belong to adapters that are called after their port", () => {
    const other = `import { Limiter } from "../../domain/limits/Limiter.ts"; Limiter.of({})`
    assert.include(
      said(adaptersHaveSuites, { ...files, "src/layers/limits/InProcess.ts": other }),
      "src/layers/limits/InProcess.ts: keeps Limiter, and its name does not end with it"
    )
  })

  it("are not skipped in silence", () => {
    assert.strictEqual(skips(`it.skip("x", () => {})`), 1)
    assert.strictEqual(skips(`it.effect.skip("x", () => {})`), 1)
    assert.strictEqual(skips(`describe.skipIf(true)("x", () => {})`), 1)
    assert.strictEqual(skips(`// It has a reason.\nit.only("x", () => {})`), 1)
    assert.strictEqual(skips(`// Windows has no such signal.\nit.skip("x", () => {})`), 0)
    assert.strictEqual(skips(`it.skip("x", () => {}) // Windows has no such signal.`), 0)
    assert.strictEqual(skips(`list.skip(1)`), 0)
  })
})

describe("clients", () => {
  for (const text of [
    `import { Redis as Client } from "ioredis"; new Client("redis://a")`,
    `import { Cluster } from "ioredis"; new Cluster([])`,
    `import { Kafka } from "kafkajs"; new Kafka({})`,
    `import { PgClient } from "@effect/sql-pg"; PgClient.layer({})`,
    `import { FetchHttpClient } from "effect/http"; const client = FetchHttpClient.layer`,
    `import { NodeHttpClient } from "@effect/platform-node"; NodeHttpClient.layerUndici.pipe()`,
    `fetch("http://a")`,
    `globalThis.fetch("http://a")`,
    `import { request } from "undici"; request("http://a")`,
    `import { connect } from "node:net"; connect(1)`,
    `import * as tls from "node:tls"; tls.connect({})`,
    `new WebSocket("ws://a")`
  ]) {
    it(`are found in: ${text}`, () => assert.isTrue(opensConnections(new Source("src/layers/x/X.ts", text))))
  }

  it("are not found where none is made", () => {
    for (const text of [
      `import type { Redis } from "ioredis"; const use = (redis: Redis) => redis.get("a")`,
      `import { createServer } from "node:http"; createServer()`,
      `import { HttpClient } from "effect/http"; HttpClient.mapRequest(client, f); Redis.of({}); Data.get(a)`
    ]) {
      assert.isFalse(opensConnections(new Source("src/layers/x/X.ts", text)), text)
    }
  })

  it("have a guard that declares their dependency, and that no program goes around", () => {
    const [client, raw, guard, stack] = [
      "src/layers/platform/RedisClient.ts",
      "src/layers/platform/Redis.ts",
      "src/layers/platform/GuardedRedis.ts",
      "src/programs/stacks/Sql.ts"
    ]
    const rule = clientsHaveBreakersOf({ [client]: { dependency: "redis", guard, raw } })
    const taking = `import * as Redis from "../../layers/platform/Redis.ts"; Redis.layer(url);`
    const files = {
      [client]: `import { Redis } from "ioredis"; new Redis()`,
      [raw]: "",
      [guard]: `Dependency.make("redis", "redis", {})`,
      [stack]: `${taking} import * as GuardedRedis from "../../layers/platform/GuardedRedis.ts"`
    }
    assert.deepStrictEqual(said(rule, files), [])
    assert.deepStrictEqual(said(rule, { ...files, [stack]: taking }), [`${stack}: takes ${raw} without ${guard}`])
    assert.deepStrictEqual(said(rule, { ...files, [guard]: "" }), [
      `${client}: ${guard} declares no dependency "redis"`
    ])
    assert.deepStrictEqual(said(rule, { ...files, [client]: "" }), [`${client}: opens no connections any more`])
    assert.deepStrictEqual(said(rule, { ...files, "src/layers/market/Chain.ts": `fetch("http://a")` }), [
      "src/layers/market/Chain.ts: opens connections, and no breaker is named for them"
    ])
  })
})

describe("promises", () => {
  const test = { "test/limits/Limiter.suite.ts": `test("a | b", () => {}); it.prop("c: d", {}, () => {}); log("e")` }
  const doc = (cell: string, path = "docs/systems/limits.md") =>
    said(promisesHaveTests, { ...test, [path]: promise(cell) })

  it("are believed when they name tests by path and title", () => {
    assert.deepStrictEqual(doc("`test/limits/Limiter.suite.ts: a \\| b`<br>`test/limits/Limiter.suite.ts: c: d`"), [])
  })

  it("are not believed without a test, with a title that is none, or with a file that is not there", () => {
    assert.deepStrictEqual(doc("`test/limits/Limiter.suite.ts`"), [
      "docs/systems/limits.md: line 3 promises without a test"
    ])
    assert.deepStrictEqual(doc("`test/limits/Limiter.suite.ts: e`", "README.md"), [
      `README.md: line 3: no test "e" in test/limits/Limiter.suite.ts`
    ])
    assert.deepStrictEqual(doc("`test/limits/Gone.test.ts: a`"), [
      `docs/systems/limits.md: line 3: no test "a" in test/limits/Gone.test.ts`
    ])
  })

  it("are what a page of a system is made of", () => {
    assert.deepStrictEqual(
      said(promisesHaveTests, { "docs/systems/limits.md": "Trust us.", "docs/CONFIG.md": "Words." }),
      ["docs/systems/limits.md: has no table with a column `test`"]
    )
  })

  it("about settings and examples are complete", () => {
    assert.deepStrictEqual(said(settingsAreDocumented(["PORT", "HOST"]), { "docs/CONFIG.md": "| `PORT` |" }), [
      "docs/CONFIG.md: does not say what HOST is"
    ])
    assert.deepStrictEqual(
      said(examplesAreRecorded, { "examples/a.ts": "", "examples/b.ts": "", "examples/b.out": "" }),
      ["examples/a.ts: there is no examples/a.out"]
    )
  })
})

describe("own words", () => {
  for (const text of [
    `cd ${"/work"}/x`,
    `see ${"../"}shared/x`,
    `${"/root"}/x`,
    `as ${"house"}.md says`,
    `fixes ${"issue"} 3`
  ]) {
    it(`are not: ${text}`, () => assert.lengthOf(said(ownWords, { "README.md": `Line one.\n${text}` }), 1))
  }

  it("may sound alike", () => {
    assert.deepStrictEqual(said(ownWords, { "a.md": "src/work/x, house.mdx, an issue of 3 stamps, /var/root" }), [])
  })
})

describe("exceptions", () => {
  it("let pass what they name, and are reported when nothing needs them", () => {
    const complaint = { path: "src/a.ts", why: "line 3: any" }
    const exception = { sentence: "rule", path: "src/a.ts", why: /any$/, reason: "because" }
    const stale = { ...exception, path: "src/b.ts" }
    const other = { ...complaint, why: "line 4: console" }
    const { left, unused } = excepted([{ sentence: "rule", said: [complaint, other] }], [exception, stale])
    assert.deepStrictEqual(left, [{ sentence: "rule", said: [other] }])
    assert.deepStrictEqual(unused, [stale])
  })
})
