/**
 * Which life of which server this process talks to, and what that server must be told before it may decide.
 *
 * An epoch is the server's own run id and the moment it was first met, kept in its memory: a restart, a
 * promoted replica and a flush each show as another epoch, or none; and whoever notices that the server's clock
 * was put forward, so that units would leave too soon, begins another one. Whoever meets a new one tells it all it
 * admitted in its last windows, then says so; until everybody who lived has, what the others may have spent is
 * held back. A single server has one epoch. In a cluster each tenant has its own, since its keys lie together
 * on one node and share its fate.
 */
import { Deferred, Duration, Effect } from "effect"
import type { Scope } from "effect"

import { RedisUnavailable } from "../platform/Redis.ts"
import type { Redis, RedisError } from "../platform/Redis.ts"
import type { Client } from "../platform/RedisClient.ts"
import { Epoch } from "./Epoch.ts"
import type { Heartbeat } from "./Heartbeat.ts"
import type { Ids } from "./Ids.ts"
import { tagOf } from "./KeyTable.ts"
import { Script } from "./Script.ts"
import type { Memory, Shadow } from "./Shadow.ts"

type Told = readonly [
  known: 0 | 1,
  now: number,
  epoch: string,
  since: number,
  began: 0 | 1,
  expected: number,
  ...instances: ReadonlyArray<string>
]

const restoring = new Script<Told>("restore.lua")

/** Units told in one call: about a millisecond of Redis. */
const chunkMax = 1000

/** How long one such call may take. */
const deadline = Duration.seconds(1)

/** A quiet tenant's epoch in a cluster is dropped after two days, when none of its windows holds anything. */
const keptMillis = 172_800_000

/** Tenants whose epochs are remembered in a cluster; the one met first is met again. */
const epochsMax = 100_000

export class Epochs {
  readonly #redis: Redis["Service"]
  readonly #shadow: Shadow
  readonly #heartbeat: Heartbeat
  readonly #ids: Ids
  readonly #fleet: number
  readonly #scope: Scope.Scope
  readonly #now: () => number
  readonly #single = new Epoch("{cribwork:limits}")
  readonly #byTag = new Map<string, Epoch>()
  readonly #watched = new WeakSet<object>()
  /** Undefined until the first connection shows what there is. */
  #clustered: boolean | undefined = undefined
  /** How often this process had reason to believe that another server, or another life, answers. */
  doubts = 0
  /** Decisions that Redis had to be told. */
  restored = 0

  constructor(of: {
    readonly redis: Redis["Service"]
    readonly shadow: Shadow
    readonly heartbeat: Heartbeat
    readonly ids: Ids
    readonly fleet: number
    readonly scope: Scope.Scope
    readonly now: () => number
  }) {
    this.#redis = of.redis
    this.#shadow = of.shadow
    this.#heartbeat = of.heartbeat
    this.#ids = of.ids
    this.#fleet = of.fleet
    this.#scope = of.scope
    this.#now = of.now
  }

  /** The epoch that decides about a key. */
  of(name: string): Epoch {
    if (this.#clustered !== true) return this.#single
    const tag = tagOf(name)
    const known = this.#byTag.get(tag)
    if (known !== undefined) return known
    for (const [oldest] of this.#byTag) {
      if (this.#byTag.size < epochsMax) break
      this.#byTag.delete(oldest)
    }
    const epoch = new Epoch(tag)
    this.#byTag.set(tag, epoch)
    return epoch
  }

  /** Whether one epoch decides about all of them: it always does on a single server. */
  together(names: ReadonlyArray<string>): boolean {
    return this.#clustered !== true || names.every((name) => this.of(name) === this.of(names[0] as string))
  }

  /** Learns what stands behind the connection, and hears when it is lost: then no epoch is certain any more. */
  see(client: Client): void {
    this.#clustered = client.isCluster
    if (this.#watched.has(client)) return
    this.#watched.add(client)
    const doubt = () => this.doubt()
    client.on("close", doubt)
    client.on("+node", (node: Client) => {
      doubt()
      node.on("close", doubt)
    })
  }

  doubt(): void {
    this.doubts++
    this.#single.known = undefined
    for (const epoch of this.#byTag.values()) epoch.known = undefined
  }

  /** Must it be told something before it may decide? */
  isBehind(epoch: Epoch): boolean {
    return epoch.known === undefined || this.#shadow.owes(this.#tag(epoch))
  }

  /**
   * Those that must be told something although nobody asks, and those of whom somebody else is missing. A tenant
   * of whom nothing is known waits for its next ask.
   */
  get unsettled(): ReadonlyArray<Epoch> {
    if (this.#clustered !== true) {
      return this.isBehind(this.#single) || this.#single.missing.length > 0 ? [this.#single] : []
    }
    const { tags } = this.#shadow
    return [...this.#byTag.values()].filter(
      (epoch) => epoch.missing.length > 0 || (tags.has(epoch.tag) && this.isBehind(epoch))
    )
  }

  #tag(epoch: Epoch): string | undefined {
    return this.#clustered === true ? epoch.tag : undefined
  }

  /** Tells the server what it must know, once for all who wait, and goes on when they no longer do. */
  tell(epoch: Epoch): Effect.Effect<void, RedisError> {
    return Effect.suspend(() => {
      if (epoch.telling !== undefined) return Deferred.await(epoch.telling)
      const telling = Deferred.makeUnsafe<void, RedisError>()
      epoch.telling = telling
      return this.#told(epoch).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            epoch.telling = undefined
            Deferred.doneUnsafe(telling, exit)
          })
        ),
        Effect.ignore,
        Effect.forkIn(this.#scope, { startImmediately: true }),
        Effect.andThen(Deferred.await(telling))
      )
    })
  }

  /** Tells what is left to tell, for nobody will tell it later; not for long. */
  readonly lastWords: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.unsettled, (epoch) => this.#told(epoch), { discard: true })
  ).pipe(Effect.timeoutOption(deadline), Effect.ignore)

  #told(epoch: Epoch): Effect.Effect<void, RedisError> {
    return Effect.gen({ self: this }, function* () {
      const doubts = this.doubts
      const begin = epoch.stepped ? `!${epoch.told}` : ""
      const [, , name, , began] = yield* this.#call(epoch, begin, false, [])
      epoch.stepped = false
      if (this.#shadow.overflowed) {
        this.#shadow.overflowed = false
        this.#single.complete = false
        for (const each of this.#byTag.values()) each.complete = false
      }
      const lost = epoch.told !== undefined && epoch.told !== name
      const tag = this.#tag(epoch)
      // Everything, if this is a life it was not told in; else what it may have missed.
      if (epoch.told === name && epoch.complete) yield* this.#chunks(epoch, name, this.#shadow.owed(tag, this.#now()))
      else yield* this.#chunks(epoch, name, this.#shadow.everything(tag, this.#now()))
      while (this.#shadow.owes(tag)) yield* this.#chunks(epoch, name, this.#shadow.owed(tag, this.#now()))
      const heard = yield* this.#call(epoch, name, this.#shadow.isWhole(this.#now()), [])
      if (doubts !== this.doubts) return yield* new RedisUnavailable({ detail: "the connection was lost meanwhile" })
      this.#count(epoch, heard)
      epoch.told = epoch.known = name
      epoch.complete = true
      if (began === 1 && (lost || this.#clustered !== true)) yield* this.#heartbeat.alarm
    })
  }

  #chunks(epoch: Epoch, name: string, memories: ReadonlyArray<Memory>): Effect.Effect<void, RedisError> {
    return Effect.gen({ self: this }, function* () {
      let chunk: Array<Memory> = []
      let units = 0
      for (const memory of memories) {
        if (units + memory.cost > chunkMax && chunk.length > 0) {
          yield* this.#call(epoch, name, false, chunk)
          chunk = []
          units = 0
        }
        chunk.push(memory)
        units += memory.cost
      }
      if (chunk.length > 0) yield* this.#call(epoch, name, false, chunk)
      this.restored += memories.length
    }).pipe(
      Effect.onError(() =>
        Effect.sync(() => {
          epoch.complete = false
        })
      )
    )
  }

  #call(epoch: Epoch, name: string, last: boolean, memories: ReadonlyArray<Memory>): Effect.Effect<Told, RedisError> {
    return this.#redis
      .use(deadline, (client) => {
        this.see(client)
        // A tenant of a cluster whom this process meets for the first time has lost nothing that it knows of.
        const met = this.#clustered === true && epoch.told === undefined
        const seen = met ? [{ instance: this.#ids.instance, until: 0 }] : this.#heartbeat.seen
        const keys = [epoch.key, `${epoch.key}:expected`, `${epoch.key}:restored`]
        const kept = this.#clustered === true ? keptMillis : 0
        const values: Array<string | number> = [this.#ids.instance, name, last ? 1 : 0, kept, seen.length]
        for (const { instance, until } of seen) values.push(instance, until)
        const now = this.#now()
        for (const [key, of] of Map.groupBy(memories, (memory) => memory.name)) {
          keys.push(key)
          values.push(of[0]?.windowMicros ?? 0, of.length)
          for (const { at, cost, id } of of) {
            values.push(now - at, cost, typeof id === "string" ? `=${id}` : this.#ids.text(id))
          }
        }
        return restoring.run(client, keys, values)
      })
      .pipe(
        Effect.filterOrFail(
          ([known]) => known === 1,
          () => new RedisUnavailable({ detail: "it lost what it knew while it was told" })
        )
      )
  }

  /** Who has not told yet. Instances that nobody here has heard of count too, up to the declared fleet. */
  #count(epoch: Epoch, [, , , since, , expected, ...rest]: Told): void {
    const restored = new Set(rest.slice(2 * expected))
    const untils = new Map<string, number>()
    for (let at = 0; at < 2 * expected; at += 2) untils.set(rest[at] as string, Number(rest[at + 1]))
    const gone = new Set(this.#heartbeat.seen.flatMap(({ instance, until }) => (until === 0 ? [] : [instance])))
    const shared = [...untils.keys()].filter((instance) => !gone.has(instance)).toSorted()
    const unheard = Math.max(0, this.#fleet - untils.size)
    epoch.since = since
    epoch.size = Math.max(1, shared.length + unheard)
    epoch.missing = [
      ...shared.map((instance, rank) => ({ instance, rank, until: untils.get(instance) ?? since })),
      ...[...gone].map((instance) => ({ instance, rank: undefined, until: untils.get(instance) ?? since })),
      ...Array.from({ length: unheard }, (_, n) => ({ instance: undefined, rank: shared.length + n, until: since }))
    ].filter(({ instance }) => instance === undefined || !restored.has(instance))
  }
}
