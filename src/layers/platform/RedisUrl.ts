/**
 * Where Redis is, in one URL: a single server, a master that Sentinels name, or a Cluster. No other part is
 * taken, since what a client library reads from a URL could undo what this house promises of it.
 */
import { Array as Arr, Option, Result } from "effect"

interface Host {
  readonly host: string
  readonly port: number
}

interface Login {
  readonly username?: string
  readonly password?: string
}

export type RedisPlace = { readonly tls: boolean; readonly login: Login } & (
  | { readonly _tag: "Single"; readonly at: Host; readonly db: number }
  | {
      readonly _tag: "Sentinel"
      readonly sentinels: Arr.NonEmptyReadonlyArray<Host>
      readonly master: string
      readonly db: number
      /** What the Sentinels themselves ask for; `login` is the master's. */
      readonly sentinelLogin: Login
    }
  /** Any of its nodes; the others are heard of from them. */
  | { readonly _tag: "Cluster"; readonly nodes: Arr.NonEmptyReadonlyArray<Host> }
)

/** Completes the sentence "it must be …". */
export const form =
  "redis://host:port/db, redis+sentinel://host:port,host:port/master/db or redis+cluster://host:port,host:port (rediss for TLS; user:password@ before the first host)"

const parts = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^@/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/
const hostForm = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,255}))(?::(\d{1,5}))?$/
const masterForm = /^[A-Za-z0-9._-]{1,64}$/
const dbForm = /^\d{0,4}$/

const redisPort = 6379
const sentinelPort = 26_379
const portMax = 65_535

const hostsOf = (text: string, byDefault: number): Option.Option<Arr.NonEmptyReadonlyArray<Host>> => {
  const hosts = text.split(",").map((one) => {
    const [, v6, name, port = String(byDefault)] = hostForm.exec(one) ?? []
    const host = v6 ?? name
    return host === undefined || Number(port) < 1 || Number(port) > portMax ? undefined : { host, port: Number(port) }
  })
  return Arr.every(hosts, (host) => host !== undefined) && Arr.isReadonlyArrayNonEmpty(hosts)
    ? Option.some(hosts)
    : Option.none()
}

/** `user:password`, `:password`, or nothing; a user alone cannot log in. */
const loginOf = (text: string): Option.Option<Login> => {
  if (text === "") return Option.some({})
  const [username = "", password = "", ...more] = text.split(":")
  if (password === "" || more.length > 0) return Option.none()
  const read = Result.getSuccess(Result.try(() => [username, password].map(decodeURIComponent)))
  return Option.map(read, ([username = "", password = ""]) => ({ ...(username === "" ? {} : { username }), password }))
}

const sentinelLoginOf = (query: string): Option.Option<Login> => {
  const given = new URLSearchParams(query)
  const { sentinel_password: password, sentinel_username: username, ...others } = Object.fromEntries(given)
  if (Object.keys(others).length > 0 || (username !== undefined && password === undefined)) return Option.none()
  return Option.some({
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password })
  })
}

export const parse = (url: string): Option.Option<RedisPlace> =>
  Option.gen(function* () {
    const found = parts.exec(url)
    if (found === null) return yield* Option.none()
    const [, s, kind = "single", userinfo = "", hostsText = "", path = "", query = ""] = found
    const hosts = yield* hostsOf(hostsText, kind === "sentinel" ? sentinelPort : redisPort)
    const common = { tls: s === "s", login: yield* loginOf(userinfo) }
    if (kind === "sentinel") {
      const [master = "", db = "", ...more] = path.split("/")
      if (!masterForm.test(master) || !dbForm.test(db) || more.length > 0) return yield* Option.none()
      const sentinelLogin = yield* sentinelLoginOf(query)
      return { ...common, _tag: "Sentinel", sentinels: hosts, master, db: Number(db), sentinelLogin }
    }
    if (query !== "") return yield* Option.none()
    if (kind === "cluster") return path === "" ? { ...common, _tag: "Cluster", nodes: hosts } : yield* Option.none()
    if (hosts.length > 1 || !dbForm.test(path)) return yield* Option.none()
    return { ...common, _tag: "Single", at: hosts[0], db: Number(path) }
  })
