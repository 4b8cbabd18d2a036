/** Builds the library: `src` compiled into `dist`, and beside each adapter the Lua it reads when it loads. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as path from "node:path"

const root = path.join(import.meta.dirname, "..")
const tsc = path.join(createRequire(import.meta.url).resolve("typescript/package.json"), "../bin/tsc")

fs.rmSync(path.join(root, "dist"), { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" })
if (status !== 0) process.exit(status ?? 1)
for (const script of fs.globSync("**/*.lua", { cwd: path.join(root, "src") })) {
  fs.copyFileSync(path.join(root, "src", script), path.join(root, "dist", script))
}
