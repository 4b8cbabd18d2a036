/**
 * The last words of a test run, for people and for CI: which live suites found no server and how to start
 * one, then `N passed, N failed, N skipped`, always as the very last line.
 *
 * A run that fails in any way closes with at least one failed, also when no test did: a file that does not
 * load, an error nobody awaited, a global set-up that throws. So the line is written when the process ends
 * and its exit code is known; nothing that tears down later can print below it.
 */
import type { Reporter, SerializedError, TestModule, TestSuite, Vitest } from "vitest/node"

import type { Server } from "./Live.ts"

/** What a run amounts to. */
export interface Outcome {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly absent: ReadonlyArray<AbsentSuite>
}

/** A live suite that did not run. */
export interface AbsentSuite {
  readonly suite: string
  readonly file: string
  readonly servers: ReadonlyArray<Server>
}

const start = (servers: Iterable<Server>) =>
  `npm run servers -- up ${[...servers].join(" ")} && source .cribwork/servers.env`

/** The lines a run closes with; `exitCode` is how its process ends. */
export const closingLines = (outcome: Outcome, exitCode: number): ReadonlyArray<string> => {
  const failed = exitCode === 0 ? outcome.failed : Math.max(1, outcome.failed)
  return [
    ...outcome.absent.map(
      ({ suite, file, servers }) => `skipped ${file} > ${suite}: no ${servers.join(", no ")}; ${start(servers)}`
    ),
    `${outcome.passed} passed, ${failed} failed, ${outcome.skipped} skipped`
  ]
}

const nothing: Outcome = { passed: 0, failed: 0, skipped: 0, absent: [] }

const absentIn = (module: TestModule): ReadonlyArray<AbsentSuite> =>
  [...module.children.allSuites()].flatMap((suite: TestSuite) => {
    const servers = suite.meta().absentServers
    return servers === undefined ? [] : [{ suite: suite.fullName, file: module.relativeModuleId, servers }]
  })

const count = (module: TestModule, state: "passed" | "failed" | "skipped") =>
  [...module.children.allTests(state)].length

/** Counts tests; a file that fails without a failing test, and an error outside of tests, count as one failed each. */
const outcomeOf = (modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<SerializedError>): Outcome => {
  const sum = (of: (module: TestModule) => number) => modules.reduce((total, module) => total + of(module), 0)
  return {
    passed: sum((module) => count(module, "passed")),
    failed: errors.length + sum((module) => count(module, "failed") || (module.ok() ? 0 : 1)),
    skipped: sum((module) => count(module, "skipped")),
    absent: modules.flatMap(absentIn)
  }
}

/** Goes beside vitest's own reporters and leaves the telling of each test to them. */
export class ClosingLine implements Reporter {
  #outcome = nothing
  #watches = false

  onInit(vitest: Vitest) {
    this.#watches = vitest.config.watch
    if (!this.#watches) {
      process.once("exit", (code) => {
        if (code === 0 && this.#outcome.failed > 0) process.exitCode = 1
        this.#print(Number(process.exitCode ?? code))
      })
    }
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<SerializedError>) {
    this.#outcome = outcomeOf(modules, errors)
    if (this.#watches) this.#print(0)
  }

  #print(exitCode: number) {
    process.stdout.write(`${closingLines(this.#outcome, exitCode).join("\n")}\n`)
  }
}
