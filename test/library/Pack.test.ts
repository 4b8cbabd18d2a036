/**
 * The library as its consumers get it: packed by npm, unpacked into a project that knows nothing else of
 * us, and there type-checked, imported and run. Nothing is fetched: what the package declares as its
 * dependencies is linked from the clone, and nothing else is, so that an undeclared import fails.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Schema } from "effect"

import { root, run } from "../support/Run.ts"

const Manifest = Schema.Struct({
  version: Schema.String,
  bin: Schema.Struct({ cribwork: Schema.String }),
  exports: Schema.Record(
    Schema.String,
    Schema.Union([Schema.Literal("./package.json"), Schema.Struct({ types: Schema.String, default: Schema.String })])
  ),
  scripts: Schema.Record(Schema.String, Schema.String),
  dependencies: Schema.Record(Schema.String, Schema.String),
  peerDependencies: Schema.Record(Schema.String, Schema.String)
})

const consumer = fs.mkdtempSync(path.join(os.tmpdir(), "cribwork-consumer-"))
const installed = path.join(consumer, "node_modules/cribwork")
const within = (folder: string) => fs.globSync("**/*.*", { cwd: path.join(installed, folder) })

/** Writes down every module that is loaded, by `import` or `require`, and prints them when the process ends. */
const watcher = `
import { registerHooks } from "node:module"
const loaded = []
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
process.on("exit", () => process.stdout.write(loaded.join("\\n")))
`

const tsconfig = {
  compilerOptions: {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    target: "ES2024",
    lib: ["ES2024", "ESNext.Disposable", "DOM"],
    module: "NodeNext",
    types: [],
    skipLibCheck: false,
    noEmit: true
  },
  include: ["*.ts"]
}

const manifest = () =>
  Schema.decodeSync(Schema.fromJsonString(Manifest))(fs.readFileSync(path.join(installed, "package.json"), "utf8"))

/** Packages, by their names under node_modules, that a process which imports `specifier` has loaded. */
const packagesLoadedBy = async (specifier: string) => {
  const { code, stdout, stderr } = await run(
    process.execPath,
    ["--import", "./watcher.mjs", "--input-type=module", "-e", `await import("${specifier}")`],
    consumer
  )
  assert.deepStrictEqual([code, stderr], [0, ""])
  return new Set(stdout.match(/(?<=\/node_modules\/)(?:@[^/]+\/)?[^/]+(?=\/[^\n]*$)/gm))
}

describe("the packed library", () => {
  beforeAll(async () => {
    const packed = await run("npm", ["pack", "--silent", "--pack-destination", consumer])
    assert.strictEqual(packed.code, 0, packed.stderr)
    fs.mkdirSync(installed, { recursive: true })
    const tarball = packed.stdout.trim().split("\n").at(-1) ?? ""
    const unpacked = await run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"], consumer)
    assert.strictEqual(unpacked.code, 0, unpacked.stderr)

    const { dependencies, peerDependencies } = manifest()
    for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
      const link = path.join(consumer, "node_modules", name)
      fs.mkdirSync(path.dirname(link), { recursive: true })
      fs.symlinkSync(path.join(root, "node_modules", name), link)
    }
    for (const file of fs.globSync("*.{ts,out}", { cwd: path.join(root, "examples") })) {
      fs.copyFileSync(path.join(root, "examples", file), path.join(consumer, file))
    }
    fs.writeFileSync(path.join(consumer, "package.json"), `{"type": "module", "private": true}`)
    fs.writeFileSync(path.join(consumer, "tsconfig.json"), JSON.stringify(tsconfig))
    fs.writeFileSync(path.join(consumer, "watcher.mjs"), watcher)
  })
  afterAll(() => fs.rmSync(consumer, { recursive: true, force: true }))

  it("holds what it needs to run and to be read, and nothing of how it is made", () => {
    assert.sameMembers(
      fs.readdirSync(installed).filter((name) => name !== "CHANGELOG.md"),
      ["LICENSE", "README.md", "dist", "migrations", "package.json", "src"]
    )
    assert.sameMembers(within("migrations"), fs.readdirSync(path.join(root, "migrations")))
    assert.deepStrictEqual(
      within("dist").filter((file) => file.endsWith(".lua")),
      within("src").filter((file) => file.endsWith(".lua"))
    )
  })

  it("runs no script when it is installed", () => {
    const ran = new Set(["preinstall", "install", "postinstall", "prepare"])
    assert.isEmpty(Object.keys(manifest().scripts).filter((name) => ran.has(name)))
  })

  it("maps every subpath to modules that are there, and every module of a system to a subpath", () => {
    const files = within("dist").filter((file) => file.endsWith(".js") && !file.startsWith("programs/"))
    const reached = new Set<string>()
    for (const [subpath, target] of Object.entries(manifest().exports)) {
      if (typeof target === "string") continue
      const { default: js, types } = target
      const found = files.filter((file) => path.matchesGlob(`./dist/${file}`, js.replace(/\*$|\*(?=\.)/, "**/*")))
      assert(subpath.includes("*") || found.length === 1, `${subpath} leads nowhere`)
      assert.strictEqual(types, js.replace(/\.js$/, ".d.ts"))
      for (const file of found) reached.add(file)
    }
    assert.sameMembers([...reached], files)
  })

  it("type-checks in a strict consumer that also checks our declarations", async () => {
    const tsc = path.join(root, "node_modules/typescript/bin/tsc")
    const { code, stdout } = await run(process.execPath, [tsc, "-p", "."], consumer)
    assert.deepStrictEqual([code, stdout], [0, ""])
  }, 60_000)

  it("runs the examples from its own build, word for word", async () => {
    for (const file of fs.globSync("*.ts", { cwd: consumer })) {
      const { code, stdout, stderr } = await run(process.execPath, [file], consumer)
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.strictEqual(stdout, fs.readFileSync(path.join(consumer, file.replace(/\.ts$/, ".out")), "utf8"))
    }
  })

  it("loads for a limiter in memory nothing but effect", async () => {
    assert.deepStrictEqual([...(await packagesLoadedBy("cribwork/limits/MemoryLimiter"))], ["cribwork", "effect"])
  })

  it("loads for breakers without Effect, which they do not show, nothing else", async () => {
    assert.deepStrictEqual([...(await packagesLoadedBy("cribwork/breakers/fetch"))], ["cribwork", "effect"])
  })

  it("loads for a limiter in Redis neither Kafka nor Postgres, and its script is found", async () => {
    const packages = await packagesLoadedBy("cribwork/limits/RedisLimiter")
    assert.include([...packages], "ioredis")
    assert.notIncludeMembers([...packages], ["kafkajs", "@effect/sql-pg"])
  })

  it("brings its command line, which knows its version and what to do without a house", async () => {
    const bin = path.join(installed, manifest().bin.cribwork)
    const help = await run(process.execPath, [bin, "--help"], consumer)
    assert.deepStrictEqual([help.code, help.stderr], [0, ""])
    assert.include(help.stdout, "cribwork <subcommand>")
    const { stdout } = await run(process.execPath, [bin, "--version"], consumer)
    assert.strictEqual(stdout, `cribwork ${manifest().version}\n`)
    const keys = await run(process.execPath, [bin, "keys", "list"], consumer)
    assert.strictEqual(keys.code, 2)
    assert.include(keys.stderr, "set DATABASE_URL")
    const serve = await run(process.execPath, [bin, "serve"], consumer)
    assert.deepStrictEqual([serve.code, serve.stdout], [2, ""])
    assert.include(serve.stderr, "DATABASE_URL must be set")
    assert.match(fs.readFileSync(bin, "utf8"), /^#!\/usr\/bin\/env node\n/)
  })

  it("finds its migrations from where it is installed", async () => {
    const script = `console.log((await import("cribwork/platform/Migrations")).directory)`
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], consumer)
    assert.strictEqual(fs.realpathSync(stdout.trim()), fs.realpathSync(path.join(installed, "migrations")))
  })
})
