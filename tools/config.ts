/** Writes docs/CONFIG.md from the page of settings: `npm run config`. A test compares the two. */
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"

import type { Setting } from "../src/layers/platform/Setting.ts"
import { rules, sections } from "../src/layers/platform/Settings.ts"

export const configFile = fileURLToPath(new URL("../docs/CONFIG.md", import.meta.url))

const cell = (text: string) => text.replaceAll("|", "\\|")

const row = ({ variable, form, byDefault, doc, secret }: Setting<unknown>): string => {
  const fallback = byDefault === undefined ? "unset" : `\`${byDefault}\``
  return `| \`${variable}\` | ${cell(doc)}${secret ? " Never shown." : ""} | ${cell(form)} | ${fallback} |`
}

const sectionPage = (heading: string, settings: ReadonlyArray<Setting<unknown>>): string =>
  `## ${heading}\n\n| variable | what it is for | must be | default |\n|---|---|---|---|\n${settings.map(row).join("\n")}\n`

const opening = `# Settings

Every setting is an environment variable, read once at the start. A wrong one stops the program and is named
with what it must look like; all wrong ones are told together, and the value of a secret is never shown. An empty
variable counts as unset. This page is made from \`src/layers/platform/Settings.ts\` by \`npm run config\`.
`

/** The page as Markdown. */
export const configPage = (): string =>
  [
    opening,
    ...Object.entries(sections).map(([heading, section]) => sectionPage(heading, Object.values(section))),
    `## Rules between variables\n`,
    ...rules.map((rule) => `- ${rule.says.replace(/\b[A-Z]+(_[A-Z]+)+\b/g, "`$&`")}.`),
    ""
  ].join("\n")

if (import.meta.main) fs.writeFileSync(configFile, configPage())
