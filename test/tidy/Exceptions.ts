/** Where a rule gives way, and why: the one list. An entry that nothing needs any more fails the test. */
import type { Complaint } from "./Source.ts"

interface Exception {
  /** The rule, as the test says it. */
  readonly sentence: string
  readonly path: string
  readonly why: RegExp
  readonly reason: string
}

interface Verdict {
  readonly sentence: string
  readonly said: ReadonlyArray<Complaint>
}

const named = "a file under src is named after its main export"
const page = "a file is a page, a program a sentence"
const words = "words that stay out of the code stay out"

const exceptions: ReadonlyArray<Exception> = [
  {
    sentence: page,
    path: "src/layers/platform/Settings.ts",
    why: /lines/,
    reason: "A table with one entry a setting, and all of them on one page is its whole point."
  },
  {
    sentence: named,
    path: "src/domain/Money.ts",
    why: /its name/,
    reason: "An amount and a currency are money together; neither is the main one."
  },
  {
    sentence: named,
    path: "src/domain/events/Envelope.ts",
    why: /its name/,
    reason: "The envelope is what turns a NewEvent into a StagedEvent into a BusRecord; no type is all of it."
  },
  {
    sentence: named,
    path: "src/layers/events/KafkaJsClient.ts",
    why: /its name/,
    reason: "How clients of kafkajs are made and called; the client itself is theirs."
  },
  {
    sentence: named,
    path: "src/layers/platform/ProcessTable.ts",
    why: /its name/,
    reason: "Two questions to the machine's process table; there is no table of ours."
  },
  {
    sentence: words,
    path: "src/layers/platform/Migrations.ts",
    why: /DDL/,
    reason: "The table that says which migrations ran cannot be made by one."
  },
  {
    sentence: words,
    path: "src/domain/api/OpenApiDocument.ts",
    why: /as unknown as/,
    reason: "Effect's type of an OpenAPI document has no index signature; here it is edited as the JSON it is."
  },
  {
    sentence: words,
    path: "src/layers/http/DocsPage.ts",
    why: /as unknown as/,
    reason: "The document is our own and comes as JSON; decoding it again would only slow down the boot."
  },
  {
    sentence: words,
    path: "src/layers/http/EdgeProblems.ts",
    why: /as unknown as/,
    reason: "A schema error holds at least one issue, which its type does not say."
  },
  {
    sentence: words,
    path: "src/layers/http/ProblemResponse.ts",
    why: /as unknown as/,
    reason: "Members are read by the names in the table, on a union whose cases have different ones."
  }
]

/** What is left of the complaints, and the exceptions that covered none. */
export const excepted = (verdicts: ReadonlyArray<Verdict>, list: ReadonlyArray<Exception> = exceptions) => {
  const covers =
    (sentence: string, { path, why }: Complaint) =>
    (one: Exception) =>
      one.sentence === sentence && one.path === path && one.why.test(why)
  return {
    left: verdicts.map(({ sentence, said }) => ({
      sentence,
      said: said.filter((complaint) => !list.some(covers(sentence, complaint)))
    })),
    unused: list.filter(
      (one) => !verdicts.some(({ sentence, said }) => said.some((complaint) => covers(sentence, complaint)(one)))
    )
  }
}
