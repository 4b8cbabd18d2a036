/**
 * What the span of a request tells of its target. A token in a path is worth as much as one in a body, and spans
 * are kept by others: where the contract calls a parameter secret, its name stands for it. Costs nothing while no
 * spans are exported, since the tracer is left as it is.
 */
import { Cause, Context, Data, Effect, Exit, Layer, Tracer } from "effect"
import { HttpApi, type HttpApiGroup } from "effect/http-api"

import { SecretParams } from "../../domain/api/Edge.ts"

/** Where Effect's server puts a target, by the names of OpenTelemetry's conventions. */
const attributes: ReadonlySet<string> = new Set(["url.full", "url.path", "url.query"])

/** A URL, or a part of one, as it may be shown. */
export type Shown = (target: string) => string

/** Also of paths that no route has: a wrong case or one segment more does not make a token fit to be read. */
export const shownIn = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>
): Shown => {
  const secret: Array<{ readonly path: string; readonly found: RegExp }> = []
  HttpApi.reflect(api, {
    onGroup: () => undefined,
    onEndpoint: ({ endpoint }) => {
      const names = Context.get(endpoint.annotations, SecretParams)
      if (names.length === 0) return
      const last = Math.max(...names.map((name) => endpoint.path.indexOf(`:${name}`) + name.length + 1))
      const path = endpoint.path.slice(0, last)
      secret.push({ path, found: new RegExp(path.replaceAll(/:\w+/g, "[^/?#]*"), "gi") })
    }
  })
  return (target) => secret.reduce((shown, { found, path }) => shown.replaceAll(found, path), target)
}

/** Stands for a failure whose words hold a secret, as the server's own do: they name the target. */
class RequestFailed extends Data.TaggedError("RequestFailed")<{ readonly message: string }> {}

const shownExit = <A, E>(exit: Exit.Exit<A, E>, shown: Shown): Exit.Exit<A, unknown> => {
  if (Exit.isSuccess(exit)) return exit
  const words = Cause.pretty(exit.cause)
  if (shown(words) === words) return exit
  const error = Cause.squash(exit.cause)
  return Exit.fail(new RequestFailed({ message: error instanceof Error ? shown(error.message) : "" }))
}

const showing = (tracer: Tracer.Tracer, shown: Shown): Tracer.Tracer => ({
  ...tracer,
  span: (options) => {
    const span = tracer.span(options)
    if (options.kind !== "server") return span
    const attribute = span.attribute.bind(span)
    span.attribute = (key, value) =>
      attribute(key, attributes.has(key) && typeof value === "string" ? shown(value) : value)
    const end = span.end.bind(span)
    span.end = (endTime, exit) => end(endTime, shownExit(exit, shown))
    return span
  }
})

export const layer = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>
): Layer.Layer<never> =>
  Layer.unwrap(
    Effect.map(Tracer.Tracer, (tracer) =>
      tracer === Tracer.nativeTracer ? Layer.empty : Layer.succeed(Tracer.Tracer, showing(tracer, shownIn(api)))
    )
  )
