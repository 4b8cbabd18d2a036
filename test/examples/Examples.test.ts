/** Every example runs from the clone and says what the file beside it says it says. */
import * as fs from "node:fs"

import { assert, describe, it } from "@effect/vitest"

import { root, run } from "../support/Run.ts"

describe("examples", () => {
  for (const file of fs.globSync("examples/*.ts", { cwd: root })) {
    it(`${file} prints what is recorded`, async () => {
      const { code, stdout, stderr } = await run(process.execPath, ["--conditions=cribwork-source", file])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.strictEqual(stdout, fs.readFileSync(`${root}/${file.replace(/\.ts$/, ".out")}`, "utf8"))
    })
  }
})
