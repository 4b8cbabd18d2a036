/** Words that stay out of the code: time, chance and settings are asked for, and no type is talked away. */
import type { Node } from "oxc-parser"

import type { Rule, Source } from "./Source.ts"

const timers = new Set(["setTimeout", "setInterval", "setImmediate"])
const structure =
  /\b(?:create|alter|drop)\s+(?:unlogged\s+)?(?:table|index|view|type|function|trigger|sequence|schema)\b/i

const isNamed = (node: Node, name: string) => node.type === "Identifier" && node.name === name

/** `Date.now`, also as `Date["now"]`. */
const isMember = (node: Node, object: string, property: string) =>
  node.type === "MemberExpression" &&
  isNamed(node.object, object) &&
  (node.property.type === "Literal" ? node.property.value === property : isNamed(node.property, property))

const wordOf = (node: Node): string | undefined => {
  if (isMember(node, "Date", "now")) return "Date.now"
  if (isMember(node, "Math", "random")) return "Math.random"
  if (isMember(node, "process", "env")) return "process.env"
  if (isMember(node, "crypto", "randomUUID")) return "crypto.randomUUID"
  switch (node.type) {
    case "NewExpression":
      return isNamed(node.callee, "Date") ? "new Date" : undefined
    case "CallExpression":
      return node.callee.type === "Identifier" && timers.has(node.callee.name) ? node.callee.name : undefined
    case "MemberExpression":
      return isNamed(node.object, "console") ? "console" : undefined
    case "TSAnyKeyword":
      return "any"
    case "TSAsExpression":
      return node.expression.type === "TSAsExpression" && node.expression.typeAnnotation.type === "TSUnknownKeyword"
        ? "as unknown as"
        : undefined
    case "Literal":
      return typeof node.value === "string" && structure.test(node.value) ? "DDL" : undefined
    case "TemplateElement":
      return structure.test(node.value.raw) ? "DDL" : undefined
    default:
      return undefined
  }
}

const wordsIn = (file: Source): ReadonlyArray<{ readonly word: string; readonly line: number }> => [
  ...file.nodes.flatMap((node) => {
    const word = wordOf(node)
    return word === undefined ? [] : [{ word, line: file.lineOf(node.start) }]
  }),
  ...file.comments.flatMap(({ line, text }) =>
    [...text.matchAll(/@ts-(?:ignore|nocheck|expect-error)/g)].map(([word]) => ({ word, line }))
  )
]

export const words: Rule = (files) =>
  files
    .filter((file) => file.isCode && file.path.startsWith("src/"))
    .flatMap((file) => wordsIn(file).map(({ word, line }) => ({ path: file.path, why: `line ${line}: ${word}` })))
