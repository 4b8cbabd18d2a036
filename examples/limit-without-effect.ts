/** No Effect anywhere: a guard that knows its policies, asked by hand. In front of a server it is one line. */
import { makeLimits } from "cribwork/limits/node"

interface Call {
  readonly tenant: string
  readonly user: string
}

const limits = await makeLimits() // { redisUrl: "redis://…" } to share the counts between processes
const guard = limits.guard<Call>([
  { name: "per-tenant", limit: 4, windowMillis: 60_000, key: ({ tenant }) => [tenant] },
  { name: "per-user", limit: 2, windowMillis: 60_000, key: ({ tenant, user }) => [tenant, user] }
])

for (const user of ["ada", "ada", "ada", "bob", "bob", "eve"]) {
  const decision = await guard.decide({ tenant: "acme", user })
  const left = (decision.headers["ratelimit"] ?? "").replaceAll(/;t=\d+/g, "")
  console.log(user, decision.admitted ? "passes" : decision.status, left)
}

await limits.close()
