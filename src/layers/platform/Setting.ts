/**
 * The kinds of value a setting may have. A kind knows how to read a text, and how to say in words what
 * it would have accepted, so that the page of settings, its documentation and its refusals never differ.
 */
import { Duration, Option, Redacted, Result } from "effect"

/** How one environment variable is read. `form` completes the sentence "it must be …". */
export interface Kind<A> {
  readonly form: string
  readonly parse: (text: string) => Result.Result<A, string>
}

/** One variable: what it is for, what it must look like, and what holds when it is not set. */
export interface Setting<A> extends Kind<A> {
  readonly variable: string
  readonly doc: string
  readonly secret: boolean
  /** The default as a person would write it; `undefined` means that the variable may stay unset. */
  readonly byDefault: string | undefined
  readonly absent: () => Result.Result<A, string>
}

const kind = <A>(form: string, parse: (text: string) => Option.Option<A>): Kind<A> => ({
  form,
  parse: (text) => Result.fromOption(parse(text), () => form)
})

export const text = (pattern: RegExp, form: string): Kind<string> =>
  kind(form, (value) => (pattern.test(value) ? Option.some(value) : Option.none()))

export const int = (minimum: number, maximum: number): Kind<number> =>
  kind(`a whole number from ${minimum} to ${maximum}`, (value) => {
    const number = /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN
    return number >= minimum && number <= maximum ? Option.some(number) : Option.none()
  })

const spelled = (duration: Duration.Input) => Duration.format(Duration.fromInputUnsafe(duration))

export const duration = (minimum: Duration.Input, maximum: Duration.Input): Kind<Duration.Duration> =>
  kind(`a duration such as \`250 millis\`, from ${spelled(minimum)} to ${spelled(maximum)}`, (value) =>
    Option.filter(
      Duration.fromInput(value as Duration.Input),
      (read) =>
        Duration.isGreaterThanOrEqualTo(read, Duration.fromInputUnsafe(minimum)) &&
        Duration.isLessThanOrEqualTo(read, Duration.fromInputUnsafe(maximum))
    )
  )

export const oneOf = <const A extends ReadonlyArray<string>>(...choices: A): Kind<A[number]> =>
  kind(`one of ${choices.join(", ")}`, (value) => (choices.includes(value) ? Option.some(value) : Option.none()))

export const flag: Kind<boolean> = {
  form: "true or false",
  parse: (value) => Result.map(oneOf("true", "false").parse(value), (read) => read === "true")
}

export const list = (item: RegExp, form: string): Kind<ReadonlyArray<string>> =>
  kind(form, (value) => {
    const items = value.split(",").map((part) => part.trim())
    return items.every((part) => item.test(part)) ? Option.some(items) : Option.none()
  })

/** A URL of one of these schemes. Kept redacted, since it may carry a password. */
export const url = (...schemes: ReadonlyArray<string>): Kind<Redacted.Redacted> =>
  kind(`a URL starting with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`, (value) => {
    const read = URL.parse(value)
    return read !== null && schemes.includes(read.protocol.slice(0, -1)) && read.hostname !== ""
      ? Option.some(Redacted.make(value, { label: "url" }))
      : Option.none()
  })

/** A URL of a form that no scheme alone says. */
export const urlThat = (form: string, holds: (text: string) => boolean): Kind<Redacted.Redacted> =>
  kind(form, (value) => (holds(value) ? Option.some(Redacted.make(value, { label: "url" })) : Option.none()))

export const secretText: Kind<Redacted.Redacted> = kind("a text of 1 to 4096 characters", (value) =>
  value.length > 0 && value.length <= 4096 ? Option.some(Redacted.make(value)) : Option.none()
)

/** A setting that has a value either way. */
export const withDefault = <A>(variable: string, of: Kind<A>, byDefault: string, doc: string): Setting<A> => ({
  ...of,
  variable,
  doc,
  secret: false,
  byDefault,
  absent: () => of.parse(byDefault)
})

/** A setting that may be missing; `secret` ones are never shown, not even when they are wrong. */
export const optional = <A>(
  variable: string,
  of: Kind<A>,
  doc: string,
  options: { readonly secret: boolean } = { secret: false }
): Setting<Option.Option<A>> => ({
  form: of.form,
  parse: (value) => Result.map(of.parse(value), Option.some),
  variable,
  doc,
  secret: options.secret,
  byDefault: undefined,
  absent: () => Result.succeed(Option.none())
})
