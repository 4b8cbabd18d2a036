/**
 * How the breakers of servers of our own behave, as opposed to those of somebody else's service: such a server
 * restarts in a moment, has few connections that bound what reaches it at once, and everything waits for it. So
 * the first look comes soon, the longest pause is short, and calls come back within half a second.
 */
import { Duration } from "effect"

import type { Policy } from "../../domain/breakers/Dependency.ts"
import * as OpenWindow from "../../domain/breakers/OpenWindow.ts"
import type { Settings } from "./Settings.ts"

/** A restart of 300 ms is an outage of hardly more. */
const windowMin = Duration.millis(200)
const windowCap = Duration.seconds(5)

const ramp = { over: Duration.millis(500), floor: 100 }

/** A larger fleet looks less often, so that its first looks stay spread. */
export const serverPolicy = (
  { breakerFleet }: Pick<Settings["Service"], "breakerFleet">,
  own: Pick<Policy, "timeout" | "endedBy" | "probeSlack">
): Policy => {
  const window = Duration.max(windowMin, Duration.millis(OpenWindow.spreadMin(breakerFleet)))
  return { window, windowCap: Duration.max(windowCap, Duration.times(window, 2)), ramp, ...own }
}
