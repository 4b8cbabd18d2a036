/** What a person meets who asks for help, mistypes, or leaves early; and that the manual says what the code does. */
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"

import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

import { exitCodes } from "../../src/programs/cli/ExitCode.ts"
import { facts, plain, table } from "../../src/programs/cli/Table.ts"
import { root } from "../support/Run.ts"
import { cribwork, parsed, program } from "./Command.ts"

const manual = readFileSync(`${root}docs/CLI.md`, "utf8")

const groups = [[], ["keys"], ["payments"], ["payments", "dlq"], ["breakers"]]
const commands = [
  ["serve"],
  ["worker"],
  ["relay"],
  ["migrate"],
  ["keys", "create"],
  ["keys", "list"],
  ["keys", "revoke"],
  ["payments", "show"],
  ["payments", "dlq", "list"],
  ["payments", "dlq", "show"],
  ["payments", "dlq", "redrive"],
  ["breakers", "list"],
  ["breakers", "watch"],
  ["breakers", "force"]
]

describe("cribwork --help", () => {
  it.live("is there on every level, within a hundred columns, and the manual knows each", () =>
    Effect.forEach(
      [...groups, ...commands],
      (path) =>
        Effect.gen(function* () {
          const { code, stdout, stderr } = yield* cribwork([...path, "--help"])
          assert.deepStrictEqual([code, stderr], [0, ""])
          assert.include(stdout, `USAGE\n  ${["cribwork", ...path].join(" ")}`)
          const [prose = ""] = stdout.split("ENVIRONMENT")
          for (const line of prose.split("EXAMPLES")[0]?.split("\n") ?? []) assert.isAtMost(line.length, 100, line)
          if (path.length > 0) assert.include(manual, `cribwork ${path.join(" ")}`)
        }),
      { concurrency: 2 }
    )
  )

  it.live("lists the exit codes, and so does the manual", () =>
    Effect.gen(function* () {
      const { stdout } = yield* cribwork(["--help"])
      for (const { code, means } of Object.values(exitCodes)) {
        assert.match(stdout, new RegExp(`^ +${code} +${means.replaceAll(".", String.raw`\.`)}$`, "m"))
        assert.include(manual, `| ${code} | ${means} |`)
      }
    })
  )

  it.live("is shown for a group that is named alone", () =>
    Effect.gen(function* () {
      const { code, stdout, stderr } = yield* cribwork(["keys"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.include(stdout, "SUBCOMMANDS")
    })
  )
})

describe("a wrong command line", () => {
  it.live("is told what it may have meant", () =>
    Effect.gen(function* () {
      const word = yield* cribwork(["keys", "lst"])
      assert.deepStrictEqual([word.code, word.stdout], [2, ""])
      assert.match(word.stderr, /^cribwork: Unknown subcommand "lst" for "cribwork keys"[^]*list/)
      const flag = yield* cribwork(["keys", "create", "--tenent", "acme", "--json"])
      assert.deepStrictEqual([flag.code, flag.stdout], [2, ""])
      assert.deepInclude(parsed(flag.stderr), { error: "usage", exit_code: 2 })
      assert.include(String(parsed(flag.stderr)["message"]), "--tenant")
    })
  )

  it.live("has --json where there is an answer, and not where a program runs", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* cribwork(["migrate", "--json"])).code, 2)
    })
  )
})

/** A shell's pipeline, and what the command's own end was. */
const piped = (line: string) =>
  Effect.promise(
    () =>
      new Promise<string>((resolve) => {
        const { PATH } = process.env
        execFile(
          "bash",
          ["--norc", "-c", `${line}; echo "\${PIPESTATUS[0]}"`],
          { env: { PATH, NODE: process.execPath, CRIBWORK: program } },
          (_, stdout, stderr) => resolve(stdout + stderr)
        )
      })
  )

describe("a pipe", () => {
  it.live("whose reader has left is no failure", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* piped(`"$NODE" "$CRIBWORK" --help | true`), "0\n")
      assert.strictEqual(yield* piped(`"$NODE" "$CRIBWORK" keys --help | head -1`), "DESCRIPTION\n0\n")
    })
  )

  it.live("onto a full disk is one", () =>
    Effect.gen(function* () {
      assert.match(yield* piped(`"$NODE" "$CRIBWORK" --help > /dev/full`), /^1\n[^]*ENOSPC/)
    })
  )
})

describe("a table", () => {
  it("stands in columns, whatever is in it", () => {
    assert.strictEqual(
      table(
        ["id", "name"],
        [
          ["1", "価格"],
          ["22", "x"]
        ]
      ),
      "ID  NAME\n1   価格\n22  x"
    )
    assert.strictEqual(
      facts([
        ["a", "1"],
        ["long", "2"]
      ]),
      "a     1\nlong  2"
    )
  })

  it("lets nobody move the cursor", () => {
    assert.strictEqual(plain("a\u001B[2J\u009B1m\nb\u007F"), "a\\x1b[2J\\x9b1m\\x0ab\\x7f")
    assert.notMatch(
      table(["\u001B"], [["\u001B]0;title\u0007"]]).slice(1),
      // oxlint-disable-next-line no-control-regex
      /[\u0000-\u0009\u000B-\u001F]/
    )
  })
})
