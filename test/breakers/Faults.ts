/** Faults as layers around layers, named by what they do to the port. */
import { Context, Duration, Effect, Layer, Random, Ref } from "effect"

import { BreakerReports } from "../../src/domain/breakers/BreakerReports.ts"
import { ForcedStates, ForcesUnavailable } from "../../src/domain/breakers/ForcedStates.ts"

export type Health = "works" | "lags" | "fails" | "hangs"

/** What lags answers after up to this long. */
const lagMax = Duration.millis(500)
const lag = Effect.flatMap(Random.next, (chance) => Effect.sleep(Duration.times(lagMax, chance)))

/** Sets what becomes of whoever asks. */
export class Switch extends Context.Service<Switch, (health: Health) => Effect.Effect<void>>()(
  "cribwork/test/breakers/Faults/Switch"
) {}

/** Wraps any `ForcedStates`, whose store can then be unplugged and plugged in again. */
export const switched = <E, R>(inner: Layer.Layer<ForcedStates, E, R>): Layer.Layer<ForcedStates | Switch, E, R> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const states = yield* ForcedStates
      const health = yield* Ref.make<Health>("works")
      const under = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | ForcesUnavailable> =>
        Effect.flatMap(Ref.get(health), (now): Effect.Effect<A, E | ForcesUnavailable> => {
          switch (now) {
            case "works":
              return effect
            case "lags":
              return Effect.tap(effect, lag)
            case "fails":
              return Effect.fail(new ForcesUnavailable({ cause: "unplugged on purpose" }))
            case "hangs":
              return Effect.never
          }
        })
      return Context.make(
        ForcedStates,
        ForcedStates.of({
          active: under(states.active),
          force: (order) => under(states.force(order)),
          lift: (lift) => under(states.lift(lift))
        })
      ).pipe(Context.add(Switch, (now) => Ref.set(health, now)))
    })
  ).pipe(Layer.provide(inner))

/** Wraps any `BreakerReports`, whose store never answers whoever leaves. */
export const deafToLeaving = <E, R>(inner: Layer.Layer<BreakerReports, E, R>): Layer.Layer<BreakerReports, E, R> =>
  Layer.effect(
    BreakerReports,
    Effect.map(BreakerReports, (reports) => BreakerReports.of({ ...reports, leave: () => Effect.never }))
  ).pipe(Layer.provide(inner))
