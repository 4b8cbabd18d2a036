/**
 * Ports of our own. They lie below the range from which Linux takes the ports of outgoing connections, so
 * that one we keep across a restart is not lost to a passing client, and each checkout begins its search
 * elsewhere, so that two rarely meet.
 */
import { createServer } from "node:net"

import { Trouble } from "./Trouble.ts"

export const firstPort = 20_000
export const portCount = 10_000

/** Every port of the range once, in an order that `seed` (hexadecimal) decides. */
export const candidates = function* (seed: string): Generator<number> {
  const start = Number.parseInt(seed.slice(0, 8), 16) % portCount
  for (let step = 0; step < portCount; step++) yield firstPort + ((start + step) % portCount)
}

/**
 * A port for each role: the one it had before while that is free, else the next candidate that is. None is
 * given out twice, nor one that is in `taken`.
 */
export const choosePorts = async (
  roles: ReadonlyArray<string>,
  kept: Readonly<Record<string, number>>,
  taken: ReadonlyArray<number>,
  seed: string,
  isFree: (port: number) => Promise<boolean>
): Promise<Record<string, number>> => {
  const used = new Set(taken)
  const chosen: Record<string, number> = {}
  const fresh = candidates(seed)
  const next = async (): Promise<number> => {
    // Not for…of: leaving one early would end the generator for the next role.
    for (let at = fresh.next(); at.done !== true; at = fresh.next()) {
      if (!used.has(at.value) && !Object.values(kept).includes(at.value) && (await isFree(at.value))) return at.value
    }
    throw new Trouble(`no port between ${firstPort} and ${firstPort + portCount - 1} is free`)
  }
  for (const role of roles) {
    const before = kept[role]
    const port = before !== undefined && !used.has(before) && (await isFree(before)) ? before : await next()
    used.add(port)
    chosen[role] = port
  }
  return chosen
}

/** Can a server listen there now? */
export const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createServer()
    probe.once("error", () => resolve(false))
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)))
  })
