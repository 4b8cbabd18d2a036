/** What is asked of the provider, and what its breaker makes of the answers. */
import { Duration } from "effect"

import * as Dependency from "../../domain/breakers/Dependency.ts"
import { health } from "../../domain/payments/PspVerdict.ts"
import type { Settings } from "../platform/Settings.ts"

/**
 * How much later than the provider's own client the breaker gives up a call. The client knows whether a request
 * had left when its time was over, which the breaker does not; so this is for a client that hangs.
 */
const clientSlack = Duration.millis(250)

/** How long one call may take. */
export const callMax = ({ pspTimeout }: Pick<Settings["Service"], "pspTimeout">) =>
  Duration.sum(pspTimeout, clientSlack)

/** Somebody looks at a screen. */
const personsPatience = Duration.seconds(1)

/** A card's digits do not change; it may be replaced, which a day later should show. */
const sourceAge = Duration.days(1)

export const make = (settings: Settings["Service"]) => {
  const dependency = Dependency.make("psp", "http", { timeout: callMax(settings) })
  return {
    dependency,
    capture: Dependency.write(dependency, "capture", { classify: health }),
    source: Dependency.read(dependency, "source", {
      authoritative: false,
      patience: personsPatience,
      maxAge: sourceAge,
      classify: health
    }),
    lookup: Dependency.read(dependency, "lookup", { authoritative: true, classify: health })
  }
}
