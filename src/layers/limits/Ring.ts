/**
 * The log of one key, as a ring of stamps: eight bytes a unit, oldest dropped in place, grown by doubling up
 * to the policy's limit. Stamps are pushed in order, so that trimming is a binary search even after a burst
 * of twenty thousand, and the instant at which a unit leaves is one read.
 */

/** Small enough that a key seen once costs little, large enough that small plans never grow. */
const slotsFirst = 8

export class Ring {
  #stamps = new Float64Array(slotsFirst)
  #head = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Slots held, used or not: what the ring costs in memory. */
  get slots(): number {
    return this.#stamps.length
  }

  /** The stamp at a place, 0 the oldest; below every time where there is none. */
  at(place: number): number {
    if (place < 0 || place >= this.#size) return Number.NEGATIVE_INFINITY
    const slots = this.#stamps.length
    const slot = this.#head + place
    return this.#stamps[slot < slots ? slot : slot - slots] as number
  }

  get newest(): number {
    return this.at(this.#size - 1)
  }

  /** Forgets every stamp at or before `edge`. */
  trim(edge: number): void {
    if (this.#size === 0 || this.at(0) > edge) return
    let stale = 1
    let fresh = this.#size
    while (stale < fresh) {
      const middle = (stale + fresh) >>> 1
      if (this.at(middle) > edge) fresh = middle
      else stale = middle + 1
    }
    const slots = this.#stamps.length
    const head = this.#head + stale
    this.#head = head < slots ? head : head - slots
    this.#size -= stale
  }

  /** Adds `count` stamps. At `limit` the oldest make room, so that a ring never outgrows its policy. */
  push(stamp: number, count: number, limit: number): void {
    const wanted = Math.min(this.#size + count, Math.max(limit, count))
    if (wanted > this.#stamps.length) this.#grow(wanted, limit)
    const slots = this.#stamps.length
    for (let added = 0; added < count; added++) {
      if (this.#size >= wanted) {
        this.#head = this.#head + 1 < slots ? this.#head + 1 : 0
        this.#size--
      }
      const slot = this.#head + this.#size
      this.#stamps[slot < slots ? slot : slot - slots] = stamp
      this.#size++
    }
  }

  #grow(wanted: number, limit: number): void {
    const stamps = new Float64Array(Math.max(wanted, Math.min(this.#stamps.length * 2, limit)))
    for (let place = 0; place < this.#size; place++) stamps[place] = this.at(place)
    this.#stamps = stamps
    this.#head = 0
  }
}
