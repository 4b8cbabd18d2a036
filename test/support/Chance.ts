/** Chance that can be repeated: what is drawn depends on the seed alone (mulberry32, Tommy Ettinger, public domain). */
export interface Chance {
  /** In [0, 1). */
  readonly next: () => number
  /** Whole, in [from, to]. */
  readonly between: (from: number, to: number) => number
  readonly one: <A>(of: ReadonlyArray<A>) => A
  readonly uuidV4: () => string
}

export const chance = (seed: number): Chance => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const between = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  const one = <A>(of: ReadonlyArray<A>): A => {
    const drawn = of[between(0, of.length - 1)]
    if (drawn === undefined) throw new Error("there is nothing to draw from")
    return drawn
  }
  const uuidV4 = () =>
    "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replaceAll(/[xy]/g, (place) =>
      (place === "x" ? between(0, 15) : between(8, 11)).toString(16)
    )
  return { next, between, one, uuidV4 }
}
