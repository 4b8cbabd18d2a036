/** Moves what was staged in the outbox to Kafka, in order per key. Leave it running; start as many as you like. */
import { Layer } from "effect"

import * as Features from "./stacks/Features.ts"
import { launch } from "./stacks/Launch.ts"
import { stack } from "./stacks/Live.ts"

launch("relay", Features.relay.pipe(Layer.provide([stack.books, stack.bus])))
