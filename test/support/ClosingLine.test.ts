import { execFile } from "node:child_process"
import * as fs from "node:fs"

import { afterAll, assert, describe, it } from "@effect/vitest"

import { closingLines } from "./ClosingLine.ts"

const root = new URL("../..", import.meta.url).pathname
fs.mkdirSync(`${root}.cribwork`, { recursive: true })
const folder = fs.mkdtempSync(`${root}.cribwork/closing-`)

interface Ended {
  readonly code: number
  readonly lines: ReadonlyArray<string>
}

/** Runs vitest itself on one file, with our reporter and without our global set-up. */
const run = (name: string, text: string, options: { readonly globalSetup?: string; readonly redis?: string } = {}) =>
  new Promise<Ended>((resolve) => {
    fs.writeFileSync(`${folder}/${name}.test.ts`, text)
    const setup = `${folder}/${name}.setup.ts`
    if (options.globalSetup !== undefined) fs.writeFileSync(setup, options.globalSetup)
    fs.writeFileSync(
      `${folder}/${name}.config.ts`,
      `import { ClosingLine } from "${root}test/support/ClosingLine.ts"
       export default { root: "${folder}", test: {
         include: ["${name}*.test.ts"], reporters: ["default", new ClosingLine()],
         globalSetup: ${JSON.stringify(options.globalSetup === undefined ? [] : [setup])} } }`
    )
    execFile(
      process.execPath,
      [`${root}node_modules/vitest/vitest.mjs`, "run", "--config", `${folder}/${name}.config.ts`],
      { cwd: folder, env: { PATH: process.env["PATH"], REDIS_URL: options.redis ?? "" } },
      (error, stdout) => resolve({ code: Number(error?.code ?? 0), lines: stdout.trimEnd().split("\n") })
    )
  })

const live = `
  import { expect, it } from "vitest"
  import { describeLive } from "${root}test/support/Live.ts"
  it("runs anyway", () => {})
  describeLive("Cache (redis)", ["redis"], ({ redis }) => {
    if (redis === "") throw new Error("collected without a URL")
    it("has the URL", () => expect(redis).toBe("redis://somewhere"))
  })`

describe("ClosingLine", () => {
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  it("names a live suite without its server, above the last line", async () => {
    const { code, lines } = await run("absent", live)
    assert.deepStrictEqual(lines.slice(-2), [
      "skipped absent.test.ts > Cache (redis): no redis; npm run servers -- up redis && source .cribwork/servers.env",
      "1 passed, 0 failed, 1 skipped"
    ])
    assert.strictEqual(code, 0)
  })

  it("runs a live suite whose server is there", async () => {
    const { code, lines } = await run("present", live, { redis: "redis://somewhere" })
    assert.strictEqual(lines.at(-1), "2 passed, 0 failed, 0 skipped")
    assert.strictEqual(code, 0)
  })

  it("fails with the run", async () => {
    const { code, lines } = await run(
      "failing",
      `import { it } from "vitest"
       it("passes", () => {}); it("fails", () => { throw new Error("no") })`
    )
    assert.strictEqual(lines.at(-1), "1 passed, 1 failed, 0 skipped")
    assert.strictEqual(code, 1)
  })

  it("counts an error outside of any test as failed", async () => {
    const { code, lines } = await run(
      "unawaited",
      `import { it } from "vitest"
       it("passes", () => { void Promise.reject(new Error("nobody waits for me")) })
       it("fails", () => { throw new Error("no") })`
    )
    assert.strictEqual(lines.at(-1), "1 passed, 2 failed, 0 skipped")
    assert.strictEqual(code, 1)
  })

  it("counts a file that does not load as failed", async () => {
    fs.writeFileSync(
      `${folder}/unloadable-too.test.ts`,
      `import { it } from "vitest"
       it("passes", () => {}); it("fails", () => { throw new Error("no") })`
    )
    const { code, lines } = await run(
      "unloadable",
      `import { it } from "vitest"
       it("never runs", () => {}); throw new Error("no")`
    )
    assert.strictEqual(lines.at(-1), "1 passed, 2 failed, 0 skipped")
    assert.strictEqual(code, 1)
  })

  it("does not call a run passed whose global set-up failed", async () => {
    const { code, lines } = await run("unready", live, {
      globalSetup: `export default () => { throw new Error("no") }`
    })
    assert.match(lines.at(-1) ?? "", /^0 passed, [1-9]\d* failed, 0 skipped$/)
    assert.strictEqual(code, 1)
  })

  it("stays last when the tear-down talks, and fails when the tear-down does", async () => {
    const { code, lines } = await run("talkative", live, {
      globalSetup: `export default () => async () => { console.log("bye"); throw new Error("no") }`
    })
    assert.match(lines.at(-1) ?? "", /^1 passed, [1-9]\d* failed, 1 skipped$/)
    assert.strictEqual(code, 1)
  })

  it("never shows a failed process without a failure", () => {
    const outcome = { passed: 7, failed: 0, skipped: 0, absent: [] }
    assert.deepStrictEqual(closingLines(outcome, 130), ["7 passed, 1 failed, 0 skipped"])
    assert.deepStrictEqual(closingLines({ ...outcome, failed: 3 }, 1), ["7 passed, 3 failed, 0 skipped"])
  })
})
