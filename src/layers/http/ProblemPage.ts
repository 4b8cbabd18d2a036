/** The page that a problem's `type` names. */
import { type ProblemName, table } from "../../domain/api/ProblemTable.ts"
import { escape, page, prose } from "./Page.ts"

const members: ReadonlyArray<readonly [string, string]> = [
  ["type", "This page's path."],
  ["status", "The HTTP status again."],
  ["title", "The name of the problem for people; always the same."],
  ["detail", "What it was this time, where there is more to say."],
  ["request_id", "Names the request in our logs; tell it to whoever runs this server."]
]

const row = (name: string, meaning: string) =>
  `<tr><td><code>${escape(name)}</code></td><td>${prose(meaning)}</td></tr>`

export const problemPage = (name: ProblemName): string => {
  const { status, title, doc, members: own } = table[name]
  const rows = [
    ...members.map(([member, meaning]) => row(member, meaning)),
    ...Object.keys(own).map((one) => row(one, ""))
  ]
  return page(
    `${title} (${name})`,
    `<p class="quiet"><a href="/docs#problems">All problems</a></p><h1>${escape(title)}</h1>` +
      `<p><code>${status}</code> <code>/problems/${name}</code></p><p>${prose(doc)}</p>` +
      `<h2>Members</h2><table>${rows.join("")}</table>`
  )
}

/** The same for programs. */
export const problemFacts = (name: ProblemName) => {
  const { status, title, doc } = table[name]
  return { type: `/problems/${name}`, status, title, doc }
}
