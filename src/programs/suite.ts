/** The whole house in one process: API, worker and relay, each box filled by itself unless its URL is set. */
import { Layer } from "effect"

import * as BusTail from "../layers/events/BusTail.ts"
import * as Embedded from "./stacks/Embedded.ts"
import * as Features from "./stacks/Features.ts"
import { launch } from "./stacks/Launch.ts"
import { topics } from "./stacks/Sql.ts"
import * as Welcome from "./stacks/Welcome.ts"

const stack = Embedded.make({ fresh: process.argv.includes("--fresh") })

/** The API on top, so that it closes first: whoever waits for an answer when we stop still gets it from the worker. */
const house = Features.api.pipe(
  Layer.provideMerge(Layer.mergeAll(Features.worker, Features.relay, ...topics.map(BusTail.layer)))
)

launch(
  "suite",
  Welcome.layer.pipe(Layer.provide(house), Layer.provide([stack.books, stack.limiter, stack.bus, stack.provider]))
)
