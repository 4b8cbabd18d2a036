/**
 * Callers whose key was found good a moment ago, so that most requests ask nobody. Plain code, since every
 * request passes here. An entry is believed for `believedNanos` after its question was *asked*, not answered:
 * a key revoked in between was good at an earlier moment only. Found by the hash of the whole token, so that
 * no token stays in memory. At `entriesMax` the oldest entry goes.
 */
import { Effect } from "effect"

import type { Caller, KeyId } from "../../domain/access/ApiKey.ts"

interface Entry {
  /** Made once, so that a hit allocates nothing. */
  readonly answer: Effect.Effect<Caller>
  readonly keyId: KeyId
  readonly until: bigint
}

export class CallerCache {
  readonly #entries = new Map<string, Entry>()
  readonly #believedNanos: bigint
  readonly #entriesMax: number

  constructor(believedNanos: bigint, entriesMax: number) {
    this.#believedNanos = believedNanos
    this.#entriesMax = entriesMax
  }

  get(tokenHash: string, nowNanos: bigint): Effect.Effect<Caller> | undefined {
    const entry = this.#entries.get(tokenHash)
    if (entry === undefined) return undefined
    if (nowNanos < entry.until) return entry.answer
    this.#entries.delete(tokenHash)
    return undefined
  }

  set(tokenHash: string, caller: Caller, askedNanos: bigint): void {
    this.#entries.delete(tokenHash)
    this.#entries.set(tokenHash, {
      answer: Effect.succeed(caller),
      keyId: caller.keyId,
      until: askedNanos + this.#believedNanos
    })
    if (this.#entries.size <= this.#entriesMax) return
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest)
      return
    }
  }

  forget(keyId: KeyId): void {
    for (const [tokenHash, entry] of this.#entries) if (entry.keyId === keyId) this.#entries.delete(tokenHash)
  }
}
