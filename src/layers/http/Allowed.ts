/** Which methods a path has: the router keeps none, and answers a wrong one like a path that does not exist. */
import { FindMyWay } from "effect/http"
import { HttpApi, type HttpApiGroup } from "effect/http-api"

/**
 * One path, one resource: `/METRICS` and `//metrics` are not `/metrics`, so that a rule about paths in a proxy
 * in front cannot be walked around. The router's own default takes them for the same. Its default of 100 characters
 * for a parameter is less than a provider's token may have.
 */
export const strictPaths = {
  caseSensitive: true,
  ignoreDuplicateSlashes: false,
  ignoreTrailingSlash: false,
  maxParamLength: 255
} as const

/** By a raw request target, as the router itself would match it. Empty for an unknown path. */
export type Allowed = (target: string) => ReadonlyArray<string>

export const allowedIn = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  api: HttpApi.HttpApi<Id, Groups>
): Allowed => {
  const router = FindMyWay.make<true>(strictPaths)
  const methods = new Set<string>()
  HttpApi.reflect(api, {
    onGroup: () => undefined,
    onEndpoint: ({ endpoint }) => {
      router.on(endpoint.method, endpoint.path as FindMyWay.PathInput, true)
      methods.add(endpoint.method)
    }
  })
  return (target) => {
    if (target === "*") return [...methods, "HEAD", "OPTIONS"]
    const has = [...methods].filter((method) => router.find(method, target) !== undefined)
    return has.length === 0 ? has : [...has, ...(has.includes("GET") ? ["HEAD"] : []), "OPTIONS"]
  }
}
