import * as fs from "node:fs"

import { assert, it } from "@effect/vitest"

import { configFile, configPage } from "../../tools/config.ts"

it("docs/CONFIG.md is the page of settings: npm run config", () => {
  assert.strictEqual(fs.readFileSync(configFile, "utf8"), configPage())
})
