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
import { Clock, Duration, Effect, Exit, Layer, Metric, Schedule, Scheduler } from "effect"
import type { Fiber } from "effect"

import { impossible, Limiter, Quota } from "../../domain/limits/Limiter.ts"
import type { Ask, AskKey, Grant, LimiterError } from "../../domain/limits/Limiter.ts"
import { Redis } from "../platform/Redis.ts"
import { Settings } from "../platform/Settings.ts"
import { asksMax, kinds } from "./Batch.ts"
import { Courier } from "./Courier.ts"
import type { Traveller } from "./Courier.ts"
import * as Decisions from "./Decisions.ts"
import { Denials } from "./Denials.ts"
import { Epochs } from "./Epochs.ts"
import { Heartbeat } from "./Heartbeat.ts"
import * as Ids from "./Ids.ts"
import { keyName } from "./KeyName.ts"
import { Leases, lendMicros } from "./Leases.ts"
import type { Lease } from "./Leases.ts"
import { Script } from "./Script.ts"
import { cannotDecide, Shadow } from "./Shadow.ts"
import { Granted, nowMicros, windowsBounds } from "./Windows.ts"
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

const refunding = new Script<number>("refund.lua")

const make = (options: RedisLimiterOptions) =>
  Effect.gen(function* () {
    const { batchMax = asksMax, beat = Duration.seconds(1), deadline, denialsMax = 10_000, fleet = 1 } = options
    const redis = yield* Redis
    const clock = yield* Clock.Clock
    const now = () => nowMicros(clock)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const turns = (yield* Scheduler.Scheduler).makeDispatcher()
    const ids = yield* Ids.make
    const shadow = new Shadow(options.shadow, ids)
    const denials = new Denials(denialsMax)
    const leases = new Leases()
    const heartbeat = new Heartbeat(redis, ids.instance, fleet, beat)
    const epochs = new Epochs({ redis, shadow, heartbeat, ids, fleet, scope: yield* Effect.scope, now })
    const heldMicros = Duration.toMillis(beat) * 1000
    const on = { redis, epochs, shadow, denials, ids, now, run, turns, deadline, batchMax, heldMicros }
    const courier = new Courier(on)

    /** Asks for a lease of a key that grew hot, on the next trip. */
    const borrow = (key: AskKey, name: string, units: number) => {
      const id = ids.next()
      const { policy } = key
      courier.take({
        ask: { keys: [key], cost: units },
        names: [name],
        id,
        kind: kinds.lease,
        alone: () => Exit.fail(cannotDecide("nothing is lent while Redis is away")),
        settle: (decision, _, sent) => {
          const quota = Exit.isSuccess(decision) ? decision.value.quotas[0] : undefined
          if (quota === undefined) return leases.lent(name, undefined, now())
          const until = sent + lendMicros(policy)
          const beside = quota.remaining
          const resetMicros = Duration.toMillis(quota.resetAfter) * 1000
          leases.lent(name, { name, policy, id, units, until, beside, resetMicros, used: 0, uses: new Map() }, now())
        },
        gone: false
      })
    }

    /** What was not used, from its end: the first units of a lease are those that were. */
    const handBack = (lease: Lease) =>
      Effect.suspend(() => {
        shadow.shrink(lease.name, lease.id, lease.used)
        const id = ids.text(lease.id)
        const unused = Array.from({ length: lease.units - lease.used }, (_, place) => lease.used + place)
        const members = unused.map((unit) => (unit === 0 ? id : `${id}#${unit}`))
        return redis.use(deadline, (client) => client.zrem(lease.name, ...members))
      }).pipe(Effect.ignore)

    const fromLeases = (ask: Ask, names: ReadonlyArray<string>): Exit.Exit<Grant> | undefined => {
      const id = ids.next()
      const taken = leases.take(ask, names, id, now())
      if (taken === undefined) return undefined
      const quotas = ask.keys.map(({ policy }, place) => {
        const lease = taken.find(({ name }) => name === names[place])
        const left = lease === undefined ? 0 : lease.beside + lease.units - lease.used
        return new Quota(policy, left, Math.max(0, lease?.resetMicros ?? 0))
      })
      return Exit.succeed(new Granted(ids, id, quotas, "lease"))
    }

    const decide = (ask: Ask, peeked: boolean) =>
      Effect.withFiber<Grant, LimiterError>((fiber) => {
        const never = impossible(ask)
        if (never !== undefined) return Effect.fail(never)
        let spelled: ReadonlyArray<string> | undefined
        const names = () => (spelled ??= ask.keys.map(keyName))
        const lends = !peeked && ask.id === undefined && ask.keys.every(({ policy }) => policy.lease !== undefined)
        // One that was charged before is admitted again, also when nothing else would be.
        const here =
          ask.id !== undefined
            ? undefined
            : ((lends ? fromLeases(ask, names()) : undefined) ?? denials.find(ask, names, now()))
        if (here !== undefined) return counted(here, peeked, fiber)
        return Effect.callback<Grant, LimiterError>((resume) => {
          const fresh = ask.id === undefined ? kinds.fresh : kinds.again
          let settled = false
          const traveller: Traveller = {
            ask,
            names: names(),
            id: ask.id === undefined ? ids.next() : ids.read(ask.id),
            kind: peeked ? kinds.look : fresh,
            settle: (decision, remaining) => {
              if (settled) return
              settled = true
              if (lends && remaining !== undefined) {
                for (const [place, key] of ask.keys.entries()) {
                  const name = traveller.names[place] as string
                  const units = leases.borrow(name, key.policy, ask.cost, remaining[place] ?? 0, now())
                  if (units > 0) borrow(key, name, units)
                }
              }
              resume(counted(decision, peeked, fiber))
            },
            alone: () =>
              peeked ? shadow.peek(traveller, heartbeat.place, now()) : shadow.take(traveller, heartbeat.place, now()),
            gone: false
          }
          courier.take(traveller)
          return Effect.sync(() => {
            traveller.gone = true
          })
        })
      })

    let told = 0
    const look = Effect.gen(function* () {
      yield* Metric.update(Decisions.shadowKeys, shadow.keys)
      yield* Metric.update(Decisions.restored, epochs.restored - told)
      told = epochs.restored
      yield* Effect.forEach(leases.over(now()), handBack, { discard: true })
      if (yield* heartbeat.beat) epochs.doubt()
      yield* Effect.forEach(epochs.unsettled, (epoch) => epochs.tell(epoch), { discard: true })
    }).pipe(Effect.ignore)
    /** Whoever leaves in peace leaves nothing that others must wait for. */
    const leave = Effect.gen(function* () {
      yield* Effect.forEach(leases.over(Number.POSITIVE_INFINITY), handBack, { discard: true })
      yield* epochs.lastWords
      yield* heartbeat.leave
    })
    yield* Effect.acquireRelease(look, () => leave)
    yield* Effect.forkScoped(Effect.repeat(Effect.delay(look, beat), Schedule.forever))

    return Limiter.of({
      take: (ask) => decide(ask, false),
      peek: (ask) => decide(ask, true),
      refund: (spent) =>
        Effect.suspend(() => {
          const names = spent.keys.map(keyName)
          const id = ids.read(spent.id)
          const lent = typeof id === "number" ? names.map((name) => leases.refund(name, id)) : []
          const here = Math.max(shadow.refund({ ask: spent, names, id }, now()), ...lent)
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
          leases.reset(names)
          return redis
            .use(deadline, (client) => client.del(...names))
            .pipe(
              Effect.map(() => denials.clear()),
              Effect.mapError(cannotDecide)
            )
        })
    })
  })

const counted = (
  decision: Exit.Exit<Grant, LimiterError>,
  peeked: boolean,
  { context }: Fiber.Fiber<unknown, unknown>
): Exit.Exit<Grant, LimiterError> => {
  Decisions.count(decision, peeked, context)
  return decision
}

export const layerWith = (options: RedisLimiterOptions): Layer.Layer<Limiter, never, Redis> =>
  Layer.effect(Limiter, make(options))

export const layer: Layer.Layer<Limiter, never, Redis | Settings> = Layer.unwrap(
  Settings.useSync(({ limitsFleet, redisDeadline }) =>
    layerWith({ deadline: redisDeadline, shadow: windowsBounds, fleet: limitsFleet })
  )
)
