/**
 * The log of one key, as a ring of decisions: when, how many units, and whose id. Grown by doubling, oldest
 * dropped in place. Stamps are pushed in order, so that trimming is a binary search even after a burst of
 * twenty thousand. Ids that callers brought are also indexed, since only those are asked again.
 */

/** A number is the sequence of an id that this process made; a text was brought by a caller. */
export type RingId = number | string

/** Small enough that a key seen once costs little, large enough that small plans never grow. */
const slotsFirst = 4

export class Ring {
  #stamps = new Float64Array(slotsFirst)
  #costs = new Uint16Array(slotsFirst) // `costMax` fits.
  #ids: Array<RingId> = []
  #brought: Map<string, number> | undefined = undefined
  #head = 0
  #size = 0
  #units = 0

  /** Decisions held. */
  get size(): number {
    return this.#size
  }

  /** Units they were charged. */
  get units(): number {
    return this.#units
  }

  /** Slots held, used or not: what the ring costs in memory. */
  get slots(): number {
    return this.#stamps.length
  }

  #slot(place: number): number {
    const slot = this.#head + place
    return slot < this.#stamps.length ? slot : slot - this.#stamps.length
  }

  #at(place: number): number {
    return this.#stamps[this.#slot(place)] as number
  }

  /** The stamp of the oldest decision; below every time where there is none. */
  get oldest(): number {
    return this.#size === 0 ? Number.NEGATIVE_INFINITY : this.#at(0)
  }

  get newest(): number {
    return this.#size === 0 ? Number.NEGATIVE_INFINITY : this.#at(this.#size - 1)
  }

  /** The stamp of the `nth` oldest unit, 1 the oldest. A refusal asks for one of the first, so it is near. */
  unit(nth: number): number {
    let passed = 0
    for (let place = 0; place < this.#size; place++) {
      const slot = this.#slot(place)
      passed += this.#costs[slot] as number
      if (passed >= nth) return this.#stamps[slot] as number
    }
    return Number.NEGATIVE_INFINITY
  }

  /** Units charged under an id, none if it is not here. One that this process made is looked for, newest first. */
  unitsOf(id: RingId): number {
    if (typeof id === "string") return this.#brought?.get(id) ?? 0
    for (let place = this.#size - 1; place >= 0; place--) {
      const slot = this.#slot(place)
      if (this.#ids[slot] === id) return this.#costs[slot] as number
    }
    return 0
  }

  /** Forgets every decision at or before `edge`. */
  trim(edge: number): void {
    if (this.#size === 0 || this.#at(0) > edge) return
    let stale = 1
    let fresh = this.#size
    while (stale < fresh) {
      const middle = (stale + fresh) >>> 1
      if (this.#at(middle) > edge) fresh = middle
      else stale = middle + 1
    }
    for (let dropped = 0; dropped < stale; dropped++) this.#drop()
  }

  /** Adds a decision. Beyond `limit` units the oldest make room, so that a ring never outgrows its policy. */
  push(stamp: number, cost: number, id: RingId, limit: number): void {
    while (this.#size > 0 && this.#units + cost > limit) this.#drop()
    if (this.#size === this.#stamps.length) this.#grow()
    const slot = this.#slot(this.#size)
    this.#stamps[slot] = stamp
    this.#costs[slot] = cost
    this.#ids[slot] = id
    this.#size++
    this.#units += cost
    if (typeof id !== "string") return
    this.#brought ??= new Map()
    this.#brought.set(id, cost)
  }

  /** Forgets one decision, wherever it lies, and says how many units that were. */
  remove(id: RingId): number {
    for (let place = this.#size - 1; place >= 0; place--) {
      const slot = this.#slot(place)
      if (this.#ids[slot] !== id) continue
      const cost = this.#costs[slot] as number
      for (let next = place + 1; next < this.#size; next++) this.#copy(this.#slot(next), this.#slot(next - 1))
      this.#size--
      this.#units -= cost
      if (typeof id === "string") this.#brought?.delete(id)
      return cost
    }
    return 0
  }

  /** Every decision, oldest first. */
  each(see: (stamp: number, cost: number, id: RingId) => void): void {
    for (let place = 0; place < this.#size; place++) {
      const slot = this.#slot(place)
      see(this.#stamps[slot] as number, this.#costs[slot] as number, this.#ids[slot] as RingId)
    }
  }

  #drop(): void {
    const id = this.#ids[this.#head]
    if (typeof id === "string") {
      this.#brought?.delete(id)
      this.#ids[this.#head] = 0 // Frees the text.
    }
    this.#units -= this.#costs[this.#head] as number
    this.#head = this.#head + 1 < this.#stamps.length ? this.#head + 1 : 0
    this.#size--
  }

  #copy(from: number, to: number): void {
    this.#stamps[to] = this.#stamps[from] as number
    this.#costs[to] = this.#costs[from] as number
    this.#ids[to] = this.#ids[from] as RingId
  }

  #grow(): void {
    const stamps = new Float64Array(this.#stamps.length * 2)
    const costs = new Uint16Array(stamps.length)
    const ids: Array<RingId> = []
    let place = 0
    this.each((stamp, cost, id) => {
      stamps[place] = stamp
      costs[place] = cost
      ids[place] = id
      place++
    })
    this.#stamps = stamps
    this.#costs = costs
    this.#ids = ids
    this.#head = 0
  }
}
