/**
 * Brings asks to Redis and verdicts back. Asks of one turn of the event loop travel together, each with its own
 * id and its own verdict; an answer that does not come in time, or cannot, sends each of them to the shadow
 * alone.
 */
import { Duration, Effect, Exit } from "effect"
import type { Scheduler } from "effect"

import type { Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import type { Policy } from "../../domain/limits/Policy.ts"
import { RedisTimeout } from "../platform/Redis.ts"
import type { Redis, RedisError } from "../platform/Redis.ts"
import { Batch, kinds } from "./Batch.ts"
import type { Answer, Decided, Kind } from "./Batch.ts"
import type { Denials } from "./Denials.ts"
import type { Epoch } from "./Epoch.ts"
import type { Epochs } from "./Epochs.ts"
import type { Ids } from "./Ids.ts"
import { lendMicros } from "./Leases.ts"
import { Script } from "./Script.ts"
import { cannotDecide } from "./Shadow.ts"
import type { Named, Shadow } from "./Shadow.ts"
import { rateLimited } from "./Windows.ts"

/** An ask on its way, and who waits for its verdict. */
export interface Traveller extends Named {
  readonly kind: Kind
  /** `remaining`: what Redis had left under each key when it charged this. */
  readonly settle: (
    decision: Exit.Exit<Grant, LimiterError>,
    remaining: ReadonlyArray<number> | undefined,
    sent: number
  ) => void
  /** Decides in place of Redis. */
  readonly alone: () => Exit.Exit<Grant, LimiterError>
  /** Its caller no longer waits: what was not sent need not be. */
  gone: boolean
}

/** How far clocks may run apart by themselves, and from what on it is a step, in microseconds. */
const driftMax = 0.001
const stepMin = 20_000

const deciding = new Script<Answer>("decide.lua")

/** What a courier travels with. */
interface Baggage {
  readonly redis: Redis["Service"]
  readonly epochs: Epochs
  readonly shadow: Shadow
  readonly denials: Denials
  readonly ids: Ids
  readonly now: () => number
  readonly run: (effect: Effect.Effect<void>) => unknown
  readonly turns: Scheduler.SchedulerDispatcher
  readonly deadline: Duration.Duration
  readonly batchMax: number
  /** What is held back for those who have not told yet may be free again so soon. */
  readonly heldMicros: number
}

export class Courier {
  readonly #of: Baggage
  #waiting: Array<Traveller> = []
  /** Redis' clock when it last answered, and ours when it was asked and when it answered. */
  #met = { redis: 0, sent: 0, answered: 0, doubts: -1 }

  constructor(of: Baggage) {
    this.#of = of
  }

  /** Takes an ask along with all others of this turn. */
  take(traveller: Traveller): void {
    if (this.#waiting.push(traveller) === 1) this.#of.turns.scheduleTask(() => this.#depart(), 0)
  }

  #depart(): void {
    const travellers = this.#waiting
    this.#waiting = []
    const { batchMax, epochs, run } = this.#of
    const open = new Map<Epoch, Batch<Traveller>>()
    for (const traveller of travellers) {
      if (traveller.gone) continue
      const epoch = epochs.of(traveller.names[0] as string)
      if (!epochs.together(traveller.names)) {
        traveller.settle(Exit.die(new Error("In a cluster all keys of an ask begin alike.")), undefined, 0)
        continue
      }
      if (this.#holdBack(traveller, epoch)) continue
      const batch = open.get(epoch)
      if (batch?.add(traveller) === true) continue
      if (batch !== undefined) run(this.#send(batch, epoch))
      const next = new Batch<Traveller>(batchMax)
      next.add(traveller)
      open.set(epoch, next)
    }
    for (const [epoch, batch] of open) run(this.#send(batch, epoch))
  }

  /** It is at least so late there. */
  #redisNow(): number {
    return this.#met.redis + this.#of.now() - this.#met.answered
  }

  /** It can be no later there when an ask arrives that is sent now; 0 after another server may have answered. */
  #redisLatest(): number {
    const { deadline, epochs, now } = this.#of
    if (this.#met.doubts !== epochs.doubts) return 0
    const since = now() - this.#met.sent
    return Math.ceil(this.#met.redis + since + since * driftMax + Duration.toMillis(deadline) * 1000 + stepMin)
  }

  /** Nobody may guess what a strict policy has left while somebody may have spent what Redis does not know. */
  #holdBack(traveller: Traveller, epoch: Epoch): boolean {
    if (epoch.missing.length === 0) return false
    const stuck = traveller.ask.keys.find(({ policy }) => epoch.limitOf(policy, this.#redisNow()) === undefined)
    if (stuck === undefined) return false
    const refusal = cannotDecide(`${stuck.policy.name} waits for what Redis was not told yet`)
    traveller.settle(Exit.fail(refusal), undefined, 0)
    return true
  }

  #ask(batch: Batch<Traveller>, epoch: Epoch): Effect.Effect<Answer, RedisError> {
    const { deadline, epochs, ids, redis } = this.#of
    return redis.use(deadline, (client) => {
      epochs.see(client)
      const limitOf = (policy: Policy) => epoch.limitOf(policy, this.#redisNow()) ?? 0
      return deciding.run(
        client,
        batch.keys(epoch.key),
        batch.values(epoch.known ?? "", this.#redisLatest(), ids, limitOf)
      )
    })
  }

  /** What it must know first is told first, in the same deadline; a lost epoch charged nothing. */
  #askAfter(batch: Batch<Traveller>, epoch: Epoch): Effect.Effect<Answer, RedisError> {
    const { deadline, epochs } = this.#of
    const asked = Effect.suspend(() => {
      for (const traveller of batch.travellers) this.#holdBack(traveller, epoch)
      return this.#ask(batch, epoch)
    })
    return Effect.andThen(epochs.tell(epoch), asked).pipe(
      Effect.timeoutOrElse({ duration: deadline, orElse: () => Effect.fail(new RedisTimeout({ deadline })) })
    )
  }

  #send(batch: Batch<Traveller>, epoch: Epoch): Effect.Effect<void> {
    const { denials, epochs, ids, now } = this.#of
    const sent = now()
    const alone = () => {
      for (const traveller of batch.travellers) traveller.settle(traveller.alone(), undefined, sent)
    }
    const asked = epochs.isBehind(epoch)
      ? this.#askAfter(batch, epoch)
      : Effect.flatMap(this.#ask(batch, epoch), (answer) => {
          if (answer[0] === 1) return Effect.succeed(answer)
          if (answer[0] === 2) epoch.stepped = true
          epochs.doubt()
          denials.clear()
          return this.#askAfter(batch, epoch)
        })
    return Effect.matchEffect(asked, {
      onSuccess: (answer) =>
        Effect.sync(() => {
          this.#met = { redis: answer[1], sent, answered: now(), doubts: epochs.doubts }
          if (answer[0] !== 1) return alone()
          batch.read(answer, ids, (traveller, decided) => this.#tell(traveller, decided, epoch, sent))
        }),
      onFailure: () => Effect.sync(alone)
    })
  }

  #tell(traveller: Traveller, { decision, full, remaining }: Decided, epoch: Epoch, sent: number): void {
    const { denials, heldMicros, now, shadow } = this.#of
    if (remaining !== undefined) {
      const lent = traveller.kind === kinds.lease ? lendMicros(traveller.ask.keys[0].policy) : 0
      shadow.record(traveller, remaining, now(), lent)
    }
    const [first, ...others] = full.map(({ at, waitMicros }) => {
      const { policy } = traveller.ask.keys[at] ?? traveller.ask.keys[0]
      shadow.refused(traveller.names[at] as string, policy, traveller.ask.cost, now())
      const held = epoch.missing.length > 0 && epoch.limitOf(policy, this.#redisNow()) !== policy.limit
      return { policy: policy.name, waitMicros: held ? Math.min(waitMicros, heldMicros) : waitMicros, held }
    })
    if (first === undefined) return traveller.settle(decision, remaining, sent)
    if (!first.held && !others.some(({ held }) => held)) {
      denials.note(traveller.ask, traveller.names, [first, ...others], { sent, answered: now() })
      return traveller.settle(decision, remaining, sent)
    }
    const wait = Math.max(first.waitMicros, ...others.map(({ waitMicros }) => waitMicros))
    const named = [first.policy, ...others.map(({ policy }) => policy)] as const
    traveller.settle(Exit.fail(rateLimited(named, wait, "redis")), remaining, sent)
  }
}
