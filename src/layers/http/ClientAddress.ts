/**
 * Whom a budget by address is charged to. `X-Forwarded-For` is a claim: each proxy appends the peer it saw,
 * so with `n` trusted proxies in front the n-th entry from the right was written by one of ours, and whatever
 * stands left of it by anybody. An IPv6 client owns at least a /64, so that is one address here (RFC 6177).
 */
import { isIPv4, isIPv6 } from "node:net"

/** What an address that cannot be read is charged to: all of them share one budget. */
export const unknownAddress = "unknown"

/** `peer` is the socket's remote address; `forwarded` the whole `X-Forwarded-For`, as Node joins its lines. */
export const clientAddress = (
  peer: string | undefined,
  forwarded: string | undefined,
  trustedProxies: number
): string => {
  if (trustedProxies > 0 && forwarded !== undefined) {
    const hops = forwarded.split(",")
    const seen = network((hops[Math.max(0, hops.length - trustedProxies)] ?? "").trim())
    if (seen !== undefined) return seen
  }
  return (peer === undefined ? undefined : network(peer)) ?? unknownAddress
}

/** An IPv4 address as it is, an IPv6 address as its /64, undefined for anything else. Ports are dropped. */
export const network = (written: string): string | undefined => {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(written)?.[1] ?? written
  const address = bare.split("%")[0] ?? bare
  if (isIPv4(address)) return address
  if (isIPv6(address)) return prefix64(address)
  const withoutPort = /^([\d.]+):\d+$/.exec(address)?.[1]
  return withoutPort !== undefined && isIPv4(withoutPort) ? withoutPort : undefined
}

const prefix64 = (address: string): string => {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const hex =
    dotted === null
      ? address
      : `${dotted[1]}${pair(Number(dotted[2]), Number(dotted[3]))}:${pair(Number(dotted[4]), Number(dotted[5]))}`
  const [head = "", tail] = hex.split("::")
  const left = head === "" ? [] : head.split(":")
  const right = tail === undefined || tail === "" ? [] : tail.split(":")
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => "0"), ...right].map(
    (group) => Number.parseInt(group, 16)
  )
  const [, , , , , mapped, high = 0, low = 0] = groups
  // An IPv4 client that a dual-stack socket shows as ::ffff:a.b.c.d is itself, not one of a /64 with all others.
  return groups.slice(0, 5).every((group) => group === 0) && mapped === 0xff_ff
    ? `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
    : `${groups
        .slice(0, 4)
        .map((group) => group.toString(16))
        .join(":")}::/64`
}

const pair = (high: number, low: number) => ((high << 8) | low).toString(16)
