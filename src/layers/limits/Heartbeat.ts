/**
 * Who shares the limits: every instance says again and again that it lives, and remembers who else did. When
 * Redis is away that memory is how the limits are divided; see `Fleet` for why shares never sum to more.
 */
import { Duration, Effect } from "effect"

import { placeOf, seenByAll } from "../../domain/limits/Fleet.ts"
import type { Beat, Place } from "../../domain/limits/Fleet.ts"
import type { Redis, RedisError } from "../platform/Redis.ts"
import { Script } from "./Script.ts"

/** How many beats may be lost before an instance is believed dead. */
const lostMax = 5

/** How many instances are remembered, and for how long: what one admitted counts for a window, a day at most. */
const remembered = { most: 256, micros: 86_400_000_000 }

/** A beat that takes longer is not waited for. */
const deadline = Duration.seconds(1)

const beating = new Script<ReadonlyArray<string | number>>("beat.lua")

const names = { instances: "{cribwork:limits}:instances", alarm: "{cribwork:limits}:alarm" }

/** An instance, and the last moment at which it can have admitted anything: 0 if it may still. */
export interface Seen {
  readonly instance: string
  readonly until: number
}

export class Heartbeat {
  readonly #redis: Redis["Service"]
  readonly #instance: string
  readonly #fleet: number
  readonly #believedMicros: number
  #beats: ReadonlyArray<Beat> = []
  #gone: ReadonlyArray<Seen> = []
  #joinedAt = Number.POSITIVE_INFINITY
  #alarm = ""
  #raised = 0

  /** `fleet` is how many instances there are at least, `every` the pause between beats. */
  constructor(redis: Redis["Service"], instance: string, fleet: number, every: Duration.Duration) {
    this.#believedMicros = Duration.toMillis(every) * 1000 * lostMax
    this.#redis = redis
    this.#instance = instance
    this.#fleet = fleet
  }

  /** Instances that lived when last heard of, this one included, and those that did not any more. */
  get seen(): ReadonlyArray<Seen> {
    const here = this.#beats.length === 0 ? [{ instance: this.#instance }] : this.#beats
    return [...here.map(({ instance }) => ({ instance, until: 0 })), ...this.#gone]
  }

  /** Its place among those that share; undefined while somebody may not know that it shares. */
  get place(): Place | undefined {
    if (this.#beats.length === 0) return this.#fleet === 1 ? { size: 1, rank: 0 } : undefined
    if (this.#beats.length < this.#fleet || !seenByAll(this.#beats, this.#instance, this.#joinedAt)) return undefined
    return placeOf(this.#beats, this.#instance)
  }

  /** Says that this instance lives. True when somebody raised the alarm since: Redis lost what it knew. */
  readonly beat: Effect.Effect<boolean, RedisError> = Effect.suspend(() => this.#say(false)).pipe(
    Effect.map(([stands, time, alarm, ...rest]) => {
      const now = Number(time)
      const shared = this.#beats.length > 0 && this.place !== undefined
      // Who carries all others over is known to them still; who is new or was believed dead is not.
      if (stands === 2 && shared) this.#joinedAt = Number.NEGATIVE_INFINITY
      else if (stands !== 0) this.#joinedAt = now
      const all = rest.flatMap((instance, at) =>
        at % 2 === 0 ? [{ instance: `${instance}`, at: Number(rest[at + 1]) }] : []
      )
      this.#beats = all.filter(({ at }) => at > now - this.#believedMicros)
      this.#gone = all.flatMap(({ at, instance }) =>
        at > now - this.#believedMicros ? [] : [{ instance, until: at + this.#believedMicros }]
      )
      const raised = alarm !== this.#alarm
      this.#alarm = `${alarm}`
      return raised
    })
  )

  /** Says that this instance leaves, so that nobody waits for it to be believed dead. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => this.#say(true)).pipe(Effect.ignore)

  /** Tells all instances to look whether Redis still knows what they told it. */
  readonly alarm: Effect.Effect<void, RedisError> = Effect.suspend(() =>
    this.#redis.use(deadline, (client) => client.set(names.alarm, `${this.#instance}:${this.#raised++}`))
  ).pipe(Effect.asVoid)

  #say(leaving: boolean) {
    const seen = this.seen.flatMap(({ instance, until }) => [instance, until === 0 ? 0 : until - this.#believedMicros])
    const { micros, most } = remembered
    return this.#redis.use(deadline, (client) =>
      beating.run(
        client,
        [names.instances, names.alarm],
        [this.#instance, this.#believedMicros, leaving ? 1 : 0, most, micros, ...seen]
      )
    )
  }
}
