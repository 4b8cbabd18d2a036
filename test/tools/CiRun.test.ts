/** `.ci/run` with an `npm` that plays its part: what it makes of steps that fail, and that it cleans up after each. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"

import { afterAll, assert, describe, it } from "@effect/vitest"

const script = new URL("../../.ci/run", import.meta.url).pathname
const folder = fs.mkdtempSync(`${os.tmpdir()}/cribwork-ci-`)

interface Part {
  readonly ci?: string
  readonly up?: string
  readonly test?: string
}

/** A checkout in which npm does what the part says and notes each of its calls. */
const checkout = (part: Part): string => {
  const dir = fs.mkdtempSync(`${folder}/checkout-`)
  fs.mkdirSync(`${dir}/.ci`)
  fs.copyFileSync(script, `${dir}/.ci/run`)
  fs.chmodSync(`${dir}/.ci/run`, 0o755)
  fs.writeFileSync(
    `${dir}/npm`,
    `#!/bin/sh
     echo "$*" >> ${dir}/calls
     case "$*" in
       ci) mkdir node_modules; ${part.ci ?? "true"} ;;
       *up) mkdir -p .cribwork; echo "export REDIS_URL=redis://here" > .cribwork/servers.env; ${part.up ?? "true"} ;;
       test) ${part.test ?? "echo 3 passed, 0 failed, 0 skipped"} ;;
     esac`,
    { mode: 0o755 }
  )
  return dir
}

const run = (dir: string) => {
  const child = spawn(`${dir}/.ci/run`, {
    env: { PATH: `${dir}:${process.env["PATH"]}` },
    stdio: ["ignore", "pipe", "inherit"]
  })
  const output: Array<string> = []
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk.toString()))
  return {
    child,
    output,
    ended: async () => {
      const [code] = (await once(child, "close")) as [number | null]
      const calls = fs.readFileSync(`${dir}/calls`, "utf8").trimEnd().split("\n")
      return { code, last: output.join("").trimEnd().split("\n").at(-1), calls }
    }
  }
}

const all = ["ci", "run -s servers -- up", "test", "run -s servers -- down"]

// It leans on GNU's timeout and tail, as CI's machine has them.
describe.runIf(process.platform === "linux")(".ci/run", () => {
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  it("ends in the tests' own line, with the servers' variables in their environment", async () => {
    const { code, last, calls } = await run(
      checkout({ test: `test "$REDIS_URL" = redis://here && echo 4 passed, 0 failed, 1 skipped` })
    ).ended()
    assert.deepStrictEqual({ code, last, calls }, { code: 0, last: "4 passed, 0 failed, 1 skipped", calls: all })
  })

  it("fails with the tests' own code", async () => {
    const { code, last, calls } = await run(checkout({ test: "echo 4 passed, 2 failed, 1 skipped; exit 7" })).ended()
    assert.deepStrictEqual({ code, last, calls }, { code: 7, last: "4 passed, 2 failed, 1 skipped", calls: all })
  })

  it("does not show a failed run without a failure", async () => {
    const { code, last } = await run(checkout({ test: "echo 4 passed, 0 failed, 1 skipped; exit 1" })).ended()
    assert.deepStrictEqual({ code, last }, { code: 1, last: "4 passed, 1 failed, 1 skipped" })
  })

  it("fails when the tests never said how they ended", async () => {
    const { code, last } = await run(checkout({ test: "echo bye" })).ended()
    assert.deepStrictEqual({ code, last }, { code: 1, last: "0 passed, 1 failed, 0 skipped" })
  })

  it("tests nothing when the servers are not up, and stops those that are", async () => {
    const { code, last, calls } = await run(checkout({ up: "exit 1" })).ended()
    assert.deepStrictEqual({ code, last }, { code: 1, last: "0 passed, 1 failed, 0 skipped" })
    assert.deepStrictEqual(calls, ["ci", "run -s servers -- up", "run -s servers -- down"])
  })

  it("stops the servers when it is told to stop", async () => {
    const { child, output, ended } = run(checkout({ test: "echo begun; exec tail -f /dev/null" }))
    while (!output.join("").includes("begun")) await once(child.stdout, "data")
    child.kill("SIGTERM")
    const { code, last, calls } = await ended()
    assert.deepStrictEqual({ code, last, calls }, { code: 143, last: "0 passed, 1 failed, 0 skipped", calls: all })
  })
})
