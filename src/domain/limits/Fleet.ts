/**
 * How processes that share limits divide them while they cannot count together. Each takes its share of every
 * limit; shares of one fleet sum to the limit exactly, also for limits smaller than the fleet.
 */

/** One process among `size`, and its place in their order, which all of them know. */
export interface Place {
  readonly size: number
  readonly rank: number
}

/**
 * Units are dealt in turn, so that a share never grows when a process joins: whoever still divides among
 * fewer takes no less than it will, and the sum stays within the limit once the newcomer waits to be seen.
 */
export const share = (limit: number, { rank, size }: Place): number => Math.max(0, Math.ceil((limit - rank) / size))

/** What the others may have spent of a limit, for as long as they have not told: the shares of these ranks. */
export const reserved = (limit: number, size: number, ranks: ReadonlyArray<number>): number => {
  let units = 0
  for (const rank of ranks) units += share(limit, { size, rank })
  return units
}

/**
 * Units that a process may still admit under one key: within its share of what it admits itself, and within
 * the limit of what all are known to have admitted.
 */
export const room = (limit: number, share: number, own: number, others: number): number =>
  Math.min(share - own, limit - own - others)

/** A process that beats, and when it last did. */
export interface Beat {
  readonly instance: string
  readonly at: number
}

/**
 * Whether a process may use its share: everybody else has beaten since it joined, and so divides among one
 * more. One that joins when nobody can beat is never seen, and its share stays nothing.
 */
export const seenByAll = (beats: ReadonlyArray<Beat>, instance: string, joinedAt: number): boolean =>
  beats.every((beat) => beat.instance === instance || beat.at > joinedAt)

/** The order that all know: by name. */
export const placeOf = (beats: ReadonlyArray<Beat>, instance: string): Place => ({
  size: Math.max(1, beats.length),
  rank: beats.filter((beat) => beat.instance < instance).length
})
