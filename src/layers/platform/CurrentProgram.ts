/** Which program this process runs: `suite`, `api`, `worker`. Said by whoever launches it. */
import { Context } from "effect"

export const CurrentProgram = Context.Reference<string>("cribwork/platform/CurrentProgram", {
  defaultValue: () => "cribwork"
})
