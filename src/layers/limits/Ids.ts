/**
 * Names of decisions. One that this process makes is the instance's chance and a sequence, kept as the number
 * alone until somebody asks for the text; one that a caller brought is kept as it is.
 */
import { Effect } from "effect"
import { SecureRandom } from "effect/crypto"

import type { DecisionId } from "../../domain/limits/Limiter.ts"
import type { RingId } from "./Ring.ts"

/** Bytes of chance in the ids of one instance: two that meet would charge each other's decisions once. */
const instanceBytes = 9

/** Nine digits of base 36 count a hundred thousand decisions a second for thirty years. */
const sequenceDigitsMax = 9

export class Ids {
  /** What all ids of this instance begin with. */
  readonly instance: string
  #sequence = 0

  constructor(instance: string) {
    this.instance = instance
  }

  next(): number {
    return this.#sequence++
  }

  text(id: RingId): DecisionId {
    return (typeof id === "string" ? id : this.instance + id.toString(36)) as DecisionId
  }

  /** The sequence, if this instance made the id. */
  read(id: DecisionId): RingId {
    if (!id.startsWith(this.instance)) return id
    const digits = id.slice(this.instance.length)
    const sequence = Number.parseInt(digits, 36)
    const ours = digits.length <= sequenceDigitsMax && sequence < this.#sequence && sequence.toString(36) === digits
    return ours ? sequence : id
  }
}

/** Ids of an instance that no other has. */
export const make: Effect.Effect<Ids> = Effect.sync(
  () => new Ids(Buffer.from(SecureRandom.randomBytesUnsafe(instanceBytes)).toString("base64url"))
)
