/**
 * Reads a page of settings. Whatever is wrong with it is told at once: each variable that cannot be read,
 * and each rule between variables that does not hold. The value of a secret is never shown.
 */
import { Config, Data, Effect, Option, Result } from "effect"

import type { Setting } from "./Setting.ts"

/** Headings, and under each the settings by the name that the code gives them. */
export type Page = { readonly [heading: string]: { readonly [field: string]: Setting<unknown> } }

type Values<Section> = {
  readonly [K in keyof Section]: Section[K] extends Setting<infer A> ? A : never
}
type Flattened<T> = (T extends unknown ? (one: T) => void : never) extends (all: infer A) => void ? A : never

/** Every setting of a page by its name, whatever the heading. */
export type Read<P extends Page> = Flattened<{ [K in keyof P]: Values<P[K]> }[keyof P]>

/** What no variable can say alone. `says` is a whole sentence that names the variables. */
export interface Rule<All> {
  readonly of: ReadonlyArray<keyof All & string>
  readonly holds: (all: All) => boolean
  readonly says: string
}

/** Everything that is wrong, for the person who starts the program. */
export class WrongSettings extends Data.TaggedError("WrongSettings")<{ readonly wrong: ReadonlyArray<string> }> {
  override get message(): string {
    return ["These settings are wrong:", ...this.wrong.map((line) => `  ${line}`)].join("\n")
  }
}

const shown = (setting: Setting<unknown>, value: string) =>
  setting.secret || /:\/\/[^/]*@/.test(value) ? "its value (hidden)" : JSON.stringify(value.slice(0, 80))

export const read = <P extends Page>(
  page: P,
  rules: ReadonlyArray<Rule<Read<P>>>
): Effect.Effect<Read<P>, WrongSettings | Config.ConfigError> =>
  Effect.gen(function* () {
    const values: Record<string, unknown> = {}
    const wrong: Array<string> = []
    for (const [field, setting] of Object.values(page).flatMap((section) => Object.entries(section))) {
      const given = Option.filter(yield* Config.option(Config.String(setting.variable)), (value) => value !== "")
      const value = Option.match(given, { onNone: setting.absent, onSome: setting.parse })
      if (Result.isSuccess(value)) values[field] = value.success
      else {
        const text = Option.getOrElse(given, () => "")
        wrong.push(`${setting.variable} must be ${setting.form}, not ${shown(setting, text)}`)
      }
    }
    const all = values as Read<P>
    for (const rule of rules) {
      if (rule.of.every((field) => field in values) && !rule.holds(all)) wrong.push(rule.says)
    }
    return wrong.length > 0 ? yield* new WrongSettings({ wrong }) : all
  })
