/**
 * A `Limiter` that all processes share: one Redis sorted set a key, Redis' own clock, and one script call for
 * all asks of one turn of the event loop. It never makes a request fail or hang for Redis' sake: without an
 * answer in `deadline` this process decides alone, as each policy wants it in an outage, from a shadow of what
 * it admitted before. What it admits then is told to Redis when that is back, before Redis decides again.
 *
 * What that gives up: while Redis is away a soft policy divides its limit among the instances that were last
 * seen, so one may be refused what another does not use. In a window that spans the loss of Redis' memory, n
 * instances may admit up to 2 - 1/n times a soft limit; a strict one is kept, and answers `CannotDecide`.
 */
import { Clock, Duration, Effect, Exit, Layer, Schedule, Scheduler } from "effect"

import { impossible, Limiter } from "../../domain/limits/Limiter.ts"
import type { Ask, Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import type { Policy } from "../../domain/limits/Policy.ts"
import { Redis, RedisTimeout } from "../platform/Redis.ts"
import type { RedisError } from "../platform/Redis.ts"
import { Settings } from "../platform/Settings.ts"
import { asksMax, Batch, kinds } from "./Batch.ts"
import type { Answer, Decided, Kind } from "./Batch.ts"
import * as Decisions from "./Decisions.ts"
import { Denials } from "./Denials.ts"
import { Epochs } from "./Epochs.ts"
import type { Epoch } from "./Epochs.ts"
import { Heartbeat } from "./Heartbeat.ts"
import * as Ids from "./Ids.ts"
import { keyName } from "./KeyName.ts"
import { Script } from "./Script.ts"
import { cannotDecide, Shadow } from "./Shadow.ts"
import type { Named } from "./Shadow.ts"
import { nowMicros, rateLimited, windowsBounds } from "./Windows.ts"
import type { WindowsBounds } from "./Windows.ts"

export interface RedisLimiterOptions {
  /** From ask to answer, including the reload of a forgotten script. */
  readonly deadline: Duration.Duration
  readonly shadow: WindowsBounds
  /**
   * How many processes share these limits, at least. Above one, a process that starts while Redis is away
   * admits nothing until it has been seen, and an emptied Redis is believed complete only when so many have
   * told it what they know. With one it takes itself for the only one.
   */
  readonly fleet?: number
  /** Between two signs of life to the other processes. One that gives none for five of them is believed dead. */
  readonly beat?: Duration.Duration
  /** Asks that may travel together, 64 at most; with 1 each travels alone. */
  readonly batchMax?: number
  /** Denials that are remembered, so that they need not be asked for again; none with 0. */
  readonly denialsMax?: number
}

interface Traveller extends Named {
  readonly kind: Kind
  readonly settle: (decision: Exit.Exit<Grant, LimiterError>) => void
  /** Its caller no longer waits: what was not sent need not be. */
  gone: boolean
}

const deciding = new Script<Answer>("decide.lua")
const refunding = new Script<number>("refund.lua")

const make = (options: RedisLimiterOptions) =>
  Effect.gen(function* () {
    const {
      batchMax = asksMax,
      beat = Duration.seconds(1),
      deadline,
      denialsMax = 10_000,
      fleet = 1,
      shadow: bounds
    } = options
    const beatMicros = Duration.toMillis(beat) * 1000
    const redis = yield* Redis
    const clock = yield* Clock.Clock
    const now = () => nowMicros(clock)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const turns = (yield* Scheduler.Scheduler).makeDispatcher()
    const ids = yield* Ids.make
    const shadow = new Shadow(bounds, ids)
    const denials = new Denials(denialsMax)
    const heartbeat = new Heartbeat(redis, ids.instance, fleet, beat)
    const epochs = new Epochs({ redis, shadow, heartbeat, ids, fleet, scope: yield* Effect.scope, now })
    /** Redis' clock when it last answered, and ours then: it is at least so much later as ours is. */
    const met = { redis: 0, here: 0 }
    const redisNow = () => met.redis + now() - met.here

    const alone = (traveller: Traveller): Exit.Exit<Grant, LimiterError> =>
      traveller.kind === kinds.look
        ? shadow.peek(traveller, heartbeat.place, now())
        : shadow.take(traveller, heartbeat.place, now())

    const told = (epoch: Epoch, sent: number) => (traveller: Traveller, decided: Decided) => {
      const { decision, full, remaining } = decided
      if (remaining !== undefined) shadow.record(traveller, remaining, now())
      const [first, ...others] = full.map(({ at, waitMicros }) => {
        const { policy } = traveller.ask.keys[at] ?? traveller.ask.keys[0]
        shadow.refused(traveller.names[at] as string, policy, traveller.ask.cost, now())
        // What is held back for those who have not told yet is free again as soon as they have.
        const held = epoch.missing.length > 0 && epoch.limitOf(policy, redisNow()) !== policy.limit
        return { policy: policy.name, waitMicros: held ? Math.min(waitMicros, beatMicros) : waitMicros, held }
      })
      if (first === undefined) return traveller.settle(decision)
      if (!first.held && !others.some(({ held }) => held)) {
        denials.note(traveller.ask, traveller.names, [first, ...others], { sent, answered: now() })
        return traveller.settle(decision)
      }
      const wait = Math.max(first.waitMicros, ...others.map(({ waitMicros }) => waitMicros))
      traveller.settle(Exit.fail(rateLimited([first.policy, ...others.map(({ policy }) => policy)], wait, "redis")))
    }

    /** Nobody may guess what a strict policy has left while somebody may have spent what Redis does not know. */
    const holdBack = (traveller: Traveller, epoch: Epoch): boolean => {
      if (epoch.missing.length === 0) return false
      const stuck = traveller.ask.keys.find(({ policy }) => epoch.limitOf(policy, redisNow()) === undefined)
      if (stuck === undefined) return false
      traveller.settle(Exit.fail(cannotDecide(`${stuck.policy.name} waits for what Redis was not told yet`)))
      return true
    }

    const ask = (batch: Batch<Traveller>, epoch: Epoch) =>
      redis.use(deadline, (client) => {
        epochs.see(client)
        const limitOf = (policy: Policy) => epoch.limitOf(policy, redisNow()) ?? 0
        return deciding.run(client, batch.keys(epoch.key), batch.values(epoch.known ?? "", ids, limitOf))
      })

    /** What it must know first is told first, in the same deadline; a lost epoch charged nothing. */
    const askAfter = (batch: Batch<Traveller>, epoch: Epoch): Effect.Effect<Answer, RedisError> =>
      Effect.andThen(
        epochs.tell(epoch),
        Effect.suspend(() => {
          for (const traveller of batch.travellers) holdBack(traveller, epoch)
          return ask(batch, epoch)
        })
      ).pipe(Effect.timeoutOrElse({ duration: deadline, orElse: () => Effect.fail(new RedisTimeout({ deadline })) }))

    const send = (batch: Batch<Traveller>, epoch: Epoch): Effect.Effect<void> => {
      const sent = now()
      const asked = epochs.isBehind(epoch)
        ? askAfter(batch, epoch)
        : Effect.flatMap(ask(batch, epoch), (answer) => {
            if (answer[0] === 1) return Effect.succeed(answer)
            epochs.doubt()
            return askAfter(batch, epoch)
          })
      return Effect.matchEffect(asked, {
        onSuccess: (answer) =>
          Effect.sync(() => {
            met.redis = answer[1]
            met.here = now()
            if (answer[0] === 1) batch.read(answer, ids, told(epoch, sent))
            else for (const traveller of batch.travellers) traveller.settle(alone(traveller))
          }),
        onFailure: () =>
          Effect.sync(() => {
            for (const traveller of batch.travellers) traveller.settle(alone(traveller))
          })
      })
    }

    let waiting: Array<Traveller> = []
    const depart = () => {
      const travellers = waiting
      waiting = []
      const open = new Map<Epoch, Batch<Traveller>>()
      for (const traveller of travellers) {
        if (traveller.gone) continue
        const epoch = epochs.of(traveller.names[0] as string)
        if (holdBack(traveller, epoch)) continue
        const batch = open.get(epoch)
        if (batch?.add(traveller) === true) continue
        if (batch !== undefined) run(send(batch, epoch))
        const next = new Batch<Traveller>(batchMax)
        next.add(traveller)
        open.set(epoch, next)
      }
      for (const [epoch, batch] of open) run(send(batch, epoch))
    }

    const decide = (ask: Ask, peeked: boolean) =>
      Effect.withFiber<Grant, LimiterError>((fiber) => {
        const never = impossible(ask)
        if (never !== undefined) return Effect.fail(never)
        let spelled: ReadonlyArray<string> | undefined
        const names = () => (spelled ??= ask.keys.map(keyName))
        // One that was charged before is admitted again, also when nothing else would be.
        const denied = ask.id === undefined ? denials.find(ask, names, now()) : undefined
        if (denied !== undefined) {
          Decisions.count(denied, peeked, fiber.context)
          return denied
        }
        return Effect.callback<Grant, LimiterError>((resume) => {
          const fresh = ask.id === undefined ? kinds.fresh : kinds.again
          let settled = false
          const traveller: Traveller = {
            ask,
            names: names(),
            id: ask.id === undefined ? ids.next() : ids.read(ask.id),
            kind: peeked ? kinds.look : fresh,
            settle: (decision) => {
              if (settled) return
              settled = true
              Decisions.count(decision, peeked, fiber.context)
              resume(decision)
            },
            gone: false
          }
          if (waiting.push(traveller) === 1) turns.scheduleTask(depart, 0)
          return Effect.sync(() => {
            traveller.gone = true
          })
        })
      })

    const look = Effect.gen(function* () {
      if (yield* heartbeat.beat) epochs.doubt()
      yield* Effect.forEach(epochs.unsettled, (epoch) => epochs.tell(epoch), { discard: true })
    }).pipe(Effect.ignore)
    yield* Effect.acquireRelease(look, () => heartbeat.leave)
    yield* Effect.forkScoped(Effect.repeat(Effect.delay(look, beat), Schedule.forever))

    return Limiter.of({
      take: (ask) => decide(ask, false),
      peek: (ask) => decide(ask, true),
      refund: (spent) =>
        Effect.suspend(() => {
          const names = spent.keys.map(keyName)
          const here = shadow.refund({ ask: spent, names, id: ids.read(spent.id) }, now())
          return Effect.matchEffect(
            redis.use(deadline, (client) => refunding.run(client, names, [spent.id, spent.cost])),
            {
              onSuccess: (there) => {
                denials.clear()
                return Effect.succeed(Math.max(here, there))
              },
              // What only this process admitted is given back here; what Redis charged may leave late.
              onFailure: (cause) => (here > 0 ? Effect.succeed(here) : Effect.fail(cannotDecide(cause)))
            }
          )
        }),
      reset: (keys) =>
        Effect.suspend(() => {
          const names = keys.map(keyName)
          shadow.reset(names)
          return redis
            .use(deadline, (client) => client.del(...names))
            .pipe(
              Effect.map(() => denials.clear()),
              Effect.mapError(cannotDecide)
            )
        })
    })
  })

export const layerWith = (options: RedisLimiterOptions): Layer.Layer<Limiter, never, Redis> =>
  Layer.effect(Limiter, make(options))

export const layer: Layer.Layer<Limiter, never, Redis | Settings> = Layer.unwrap(
  Settings.useSync(({ limitsFleet, redisDeadline }) =>
    layerWith({ deadline: redisDeadline, shadow: windowsBounds, fleet: limitsFleet })
  )
)
