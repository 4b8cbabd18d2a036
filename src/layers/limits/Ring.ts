/**
 * The log of one key: when each decision was made, for how many units, and whose id it has. Decisions are
 * pushed at one end and leave at the other, so trimming is a binary search even after a burst of twenty
 * thousand; what has left is cut off when it is the larger half. Plain arrays, since a table of keys makes and
 * drops a hundred thousand of them and typed ones cost ten times as much to make. Ids that callers brought are
 * also indexed, since only those are asked again.
 */

/** A number is the sequence of an id that this process made; a text was brought by a caller. */
export type RingId = number | string

/** So many that have left are never worth a cut. */
const leftMin = 16

export class Ring {
  #stamps: Array<number> = []
  #costs: Array<number> = []
  #ids: Array<RingId> = []
  #brought: Map<string, number> | undefined = undefined
  #head = 0
  #units = 0

  /** Decisions held. */
  get size(): number {
    return this.#stamps.length - this.#head
  }

  /** Units they were charged. */
  get units(): number {
    return this.#units
  }

  /** Places held, used or not: what it costs in memory. */
  get slots(): number {
    return this.#stamps.length
  }

  /** The stamp of the oldest decision; below every time where there is none. */
  get oldest(): number {
    return this.#stamps[this.#head] ?? Number.NEGATIVE_INFINITY
  }

  get newest(): number {
    return this.#stamps[this.#stamps.length - 1] ?? Number.NEGATIVE_INFINITY
  }

  /** The stamp of the `nth` oldest unit, 1 the oldest. A refusal asks for one of the first, so it is near. */
  unit(nth: number): number {
    let passed = 0
    for (let place = this.#head; place < this.#stamps.length; place++) {
      passed += this.#costs[place] as number
      if (passed >= nth) return this.#stamps[place] as number
    }
    return Number.NEGATIVE_INFINITY
  }

  /** Units charged under an id, none if it is not here. One that this process made is looked for, newest first. */
  unitsOf(id: RingId): number {
    if (typeof id === "string") return this.#brought?.get(id) ?? 0
    const place = this.#ids.lastIndexOf(id)
    return place < this.#head ? 0 : (this.#costs[place] as number)
  }

  /** Forgets every decision at or before `edge`. */
  trim(edge: number): void {
    if (this.oldest > edge) return
    let stale = this.#head
    let fresh = this.#stamps.length
    while (stale < fresh) {
      const middle = (stale + fresh) >>> 1
      if ((this.#stamps[middle] as number) > edge) fresh = middle
      else stale = middle + 1
    }
    while (this.#head < stale) this.#drop()
    this.#cut()
  }

  /**
   * Adds a decision. Beyond `limit` units the oldest make room, so that a key never outgrows its policy. A stamp
   * that lies before the newest, which may be ahead of its time, is taken for that: it leaves later than it must.
   */
  push(at: number, cost: number, id: RingId, limit: number): void {
    const stamp = Math.max(at, this.newest)
    while (this.size > 0 && this.#units + cost > limit) this.#drop()
    this.#cut()
    if (this.#stamps.length === 0) {
      // An array of one is exactly that; the first push to an empty one takes seventeen places.
      this.#stamps = [stamp]
      this.#costs = [cost]
      this.#ids = [id]
    } else {
      this.#stamps.push(stamp)
      this.#costs.push(cost)
      this.#ids.push(id)
    }
    this.#units += cost
    if (typeof id !== "string") return
    this.#brought ??= new Map()
    this.#brought.set(id, cost)
  }

  /** Forgets one decision, wherever it lies, and says how many units that were. */
  remove(id: RingId): number {
    const place = this.#ids.lastIndexOf(id)
    if (place < this.#head) return 0
    const cost = this.#costs[place] as number
    for (const array of [this.#stamps, this.#costs, this.#ids]) array.splice(place, 1)
    this.#units -= cost
    if (typeof id === "string") this.#brought?.delete(id)
    this.#cut()
    return cost
  }

  /** Leaves `cost` units of a decision. */
  shrink(id: RingId, cost: number): void {
    const place = this.#ids.lastIndexOf(id)
    if (place < this.#head || cost >= (this.#costs[place] as number)) return
    if (cost === 0) return void this.remove(id)
    this.#units -= (this.#costs[place] as number) - cost
    this.#costs[place] = cost
  }

  /** Every decision, oldest first. */
  each(see: (stamp: number, cost: number, id: RingId) => void): void {
    for (let place = this.#head; place < this.#stamps.length; place++) {
      see(this.#stamps[place] as number, this.#costs[place] as number, this.#ids[place] as RingId)
    }
  }

  #drop(): void {
    const id = this.#ids[this.#head]
    if (typeof id === "string") this.#brought?.delete(id)
    this.#units -= this.#costs[this.#head] as number
    this.#head++
  }

  #cut(): void {
    if (this.#head < this.#stamps.length && (this.#head < leftMin || this.#head * 2 < this.#stamps.length)) return
    if (this.#head === 0) return
    for (const array of [this.#stamps, this.#costs, this.#ids]) array.splice(0, this.#head)
    this.#head = 0
  }
}
